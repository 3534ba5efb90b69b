// A program that uses every route; tests/client/test_typescript.py compiles it with --strict and the
// default settings of openapi-typescript. Each mistake in it must be one for the compiler.
import { Client, PostroomError } from "@postroom/client";
import type { Account, Domain, Event, components } from "@postroom/client";

const client = new Client({ url: "http://127.0.0.1:3000", apiKey: "pr_" });
const path = { id: 42 };
const domain = { domain: "customer.com" };
const user = { user_id: "user_123" };

export async function rules(): Promise<void> {
  const { forwarding } = await client.call("delivery_rules.get_forwarding", { path });
  forwarding.to satisfies string[];
  const body = { enabled: true, to: ["ann@example.org"], keep_copy: false };
  (await client.call("delivery_rules.put_forwarding", { path, body })).account.address satisfies string;
  (await client.call("delivery_rules.get_vacation", { path })).vacation.until_at satisfies string | null;
  const away = { enabled: true, text: "I am away.", subject: null, until_at: "2027-01-02T00:00:00Z" };
  (await client.call("delivery_rules.put_vacation", { path, body: away })).vacation.active_now satisfies boolean;
  (await client.call("sent_mail.get_page", { path, query: { limit: 10 } })).items[0].status satisfies string;
  (await client.call("sent_mail.get_days", { path })).items[0].delivered satisfies number;
}

export async function messages(): Promise<void> {
  (await client.call("messages.get_mailboxes", { path })).items[0].special_use satisfies string | null;
  const query = { from: "ann", unseen: "true" as const, since: "2026-01-31", limit: 10 };
  for await (const one of client.list("messages.get_page", { path, query })) one.from satisfies { address: string } | null;
  const of = { id: 42, message_id: "1796028450.33" };
  (await client.call("messages.get", { path: of })).message.attachments[0].size satisfies number;
  (await client.call("messages.get_raw", { path: of, query: { mailbox: "Sent" } })).byteLength satisfies number;
  (await client.call("messages.get_attachment", { path: { ...of, part: "2" } })) satisfies ArrayBuffer;
}

export async function sends(): Promise<void> {
  const attachments = [{ filename: "a.txt", content_type: "text/plain", content_base64: "aGk=" }];
  const body = { to: ["Ann <ann@example.org>"], subject: "Invoice", text: "hi", attachments, headers: { "X-Order": "4711" } };
  const sent = await client.call("message_sends.send", { path, body });
  sent.message.sent_copy satisfies "saved" | "off" | "failed";
}

export async function edits(): Promise<void> {
  const of = { id: 42, message_id: "1796028450.33" };
  const body = { flags: { seen: true }, mailbox: "Archive" };
  (await client.call("message_edits.update", { path: of, query: { mailbox: "Sent" }, body })).message.flags satisfies string[];
  const done = await client.call("message_edits.delete", { path, body: { ids: ["1796028450.33"], purge: true } });
  done.deleted[0].new_id satisfies string | null;
  const synced = await client.call("message_sync.sync", { path, body: { uidvalidity: "1", token: "4401.118" } });
  synced.changes.updated[0].modseq satisfies string;
  for await (const event of client.follow("message_changes.follow", { path })) event.token satisfies string;
}

export async function mailTokens(): Promise<void> {
  const made = await client.call("mail_tokens.create", { body: { ...user, scopes: ["messages:read"], expires_in: 60 } });
  made.expires_at satisfies string;
  const browser = new Client({ url: "http://127.0.0.1:3000", mailToken: made.token });
  const synced = await browser.call("mail.sync", { body: { mailbox: "INBOX", uidvalidity: "1", token: "4401.118" } });
  synced.more satisfies boolean | undefined;
  const message = await browser.call("mail.get_message", { query: { mailbox: "INBOX", uid: synced.changes.added[0].uid } });
  message.bodyStructure.childNodes?.[0].part satisfies string | undefined;
  message.envelope.from[0].address satisfies string;
  (await browser.call("mail.get_attachment", { query: { uid: 1, part: "2" } })) satisfies ArrayBuffer;
}

export async function appPasswords(): Promise<void> {
  const of = { account_id: 42 };
  const body = { name: "phone", scopes: ["imap" as const], networks: ["192.0.2.0/24"], ...user };
  const made = await client.call("app_passwords.create", { path: of, body });
  made.password satisfies string;
  (await client.call("app_passwords.get_all", { path: of })).app_passwords[0].last_used_protocol satisfies string | null;
  const id = made.app_password.id;
  (await client.call("app_passwords.delete", { path: of, body: { id } })).deleted.sessions_ended satisfies boolean;
}

export async function setupLinks(): Promise<void> {
  const owner = { ...domain, local_part: "owner", credential: "setup_link" as const };
  (await client.call("accounts.create", { body: owner })).setup_url satisfies string | undefined;
  const link = await client.call("setup_links.create", { path, body: { expires_in: 3600, ...user } });
  const token = link.setup_url.split("#")[1]!;
  (await client.call("setup_links.look", { body: { token } })).address satisfies string;
  (await client.call("setup_links.accept", { body: { token, password: "violet-harbor-sings-42" } })).profile satisfies string | null;
}

export async function accounts(): Promise<void> {
  const made = await client.call("accounts.create", { body: { ...domain, local_part: "billing" } });
  const account: Account = made.account;
  const texts: string[] = [made.password ?? "", account.address, account.created_at];
  const name: string | null = account.display_name;
  await client.call("accounts.create", {
    body: { ...domain, local_part: "a", ...user, display_name: null, allow_reserved: true },
    idempotencyKey: "order 42",
  });
  account satisfies Account;
  (await client.call("accounts.get", { path })).account.is_default satisfies boolean;
  (await client.call("accounts.get_page", { query: { status: "active", order: "newest" } })).items satisfies Account[];
  (await client.call("accounts.get_domain_page", { path: domain })).domain.status satisfies Domain["status"];
  for await (const one of client.list("accounts.get_page", { query: { deleted: "true" } })) one satisfies Account;
  await client.call("accounts.update", { path, body: { status: "suspended", display_name: null } });
  const off = { protocols: { pop3: false }, main_password: false };
  (await client.call("accounts.update", { path, body: off })).account.protocols.smtp satisfies boolean;
  account.main_password satisfies boolean;
  (await client.call("accounts.delete", { body: { id: 42 } })).deleted.purge_at satisfies string | null;
  await client.call("accounts.restore", { path, body: {} });
  await client.call("accounts.sign_out", { path, body: user });
  (await client.call("accounts.reset", { path, body: { disable_scripts: true } })).password satisfies string | null;
  const query = { ...domain, local_part: "billing" };
  (await client.call("availability.get", { query })).reason satisfies string | null;
  // @ts-expect-error local_part is required
  await client.call("availability.get", { query: domain });
  (await client.call("users.suspend", { body: user })).accounts_left satisfies number;
  (await client.call("users.resume", { body: user })).done satisfies boolean;
  (await client.call("users.delete", { body: { ...user, purge: true } })).domains_left satisfies number;
  (await client.call("accounts.get_page", { query: user })).total satisfies number | undefined;
  (await client.call("mailboxes.usage", { path })).used_bytes satisfies number;
  (await client.call("mailboxes.sessions", { path })).sessions[0]?.protocol satisfies "imap" | "pop3" | "managesieve" | undefined;
  (await client.call("client_settings.get", { path })).imap[0]?.port satisfies number | undefined;
  (await client.call("client_settings.get_profile", { path })) satisfies string;
  console.log(texts, name);
}

export async function domains(): Promise<void> {
  const made = await client.call("domains.create", { body: { ...domain, ...user } });
  const claimed: Domain = made.domain.domain;
  for (const record of made.domain.dns) console.log(record.record_type, record.host, record.priority ?? 0);
  for await (const one of client.list("domains.get_page", { query: user })) one satisfies Domain;
  (await client.call("domains.get", { path: domain, query: user })).domain.status satisfies Domain["status"];
  (await client.call("domains.set_route", { path: domain, body: { forward_mode: "store" } })).route.forward_mode satisfies string;
  const url = { forward_mode: "webhook_then_store", webhook_url: "https://platform.example/mail" } as const;
  (await client.call("domains.set_route", { path: domain, body: url })).webhook_secret satisfies string | undefined | null;
  (await client.call("domains.consent", { path: domain, body: { subdomain: "a.customer.com" } })).subdomain satisfies string;
  (await client.call("domains.delete", { body: domain })).deleted satisfies string;
  (await client.call("verification.verify", { path: domain, body: {} })).dns[0]?.fix satisfies string | null | undefined;
  (await client.call("dkim.rotate", { path: domain, body: {} })).dkim[0]?.state satisfies "next" | "signing" | "retiring" | undefined;
  console.log(claimed.expires_at);
}

export async function aliases(): Promise<void> {
  const body = { ...domain, local_part: "sales", account_ids: [42], ...user };
  (await client.call("aliases.create", { body })).alias.account_ids satisfies number[];
  for await (const alias of client.list("aliases.get_page", { query: { kind: "group" } })) alias.address satisfies string;
  (await client.call("aliases.resolve", { query: { address: "sales+web@customer.com" } })).accepted satisfies boolean;
  (await client.call("aliases.get", { path })).alias.expires_at satisfies string | null;
  await client.call("aliases.update", { path, body: { account_ids: [42, 43], name: null } });
  (await client.call("aliases.delete", { body: { id: 42 } })).deleted.address satisfies string;
  await client.call("accounts.update", { path, body: { local_part: "invoices", former_days: 90 } });
}

export async function others(): Promise<void> {
  (await client.call("keys.create", { body: { scopes: ["accounts:read"] } })).api_key satisfies string;
  for await (const key of client.list("keys.get_page")) key.scopes satisfies string[];
  (await client.call("keys.delete", { body: { id: 7 } })).deleted.prefix satisfies string;
  const made = await client.call("webhooks.create", { body: { url: "https://platform.example/hook", events: ["account.*"] } });
  made.secret satisfies string;
  for await (const webhook of client.list("webhooks.get_page")) webhook.domain satisfies string | null;
  (await client.call("webhooks.get", { path })).webhook.failing_since satisfies string | null;
  await client.call("webhooks.update", { path, body: { status: "active", description: null } });
  (await client.call("webhooks.rotate", { path, body: {} })).secret satisfies string;
  for await (const one of client.list("webhook_deliveries.get_page", { path, query: { status: "failed" } })) one.last_error satisfies string | null;
  (await client.call("webhook_deliveries.replay", { path, body: { failed: true } })).more satisfies boolean;
  (await client.call("webhook_deliveries.test", { path, body: {} })).attempt.delivered satisfies boolean;
  (await client.call("webhooks.delete", { body: { id: 7 } })).deleted.url satisfies string;
  await client.call("keys.delete", { body: { id: 7, keep_webhooks: true } });
  for await (const event of client.list("events.get_page", { query: { limit: 500, type: "account.created", since: "2026-01-31T00:00:00Z" } })) react(event);
  (await client.call("limits.get")).limits.domains satisfies number | null;
  await client.call("limits.change", { body: { ...user, domains: null } });
  (await client.call("stats.get")).accounts.total satisfies number;
  (await client.call("metrics.get")) satisfies string;
  (await client.call("mta_sts.policy")) satisfies string;
  (await client.call("health.alive")).status satisfies string;
  (await client.call("health.ready")).parts satisfies Record<string, string>;
  (await client.call("client_settings.autoconfig")) satisfies string;
  (await client.call("client_settings.autoconfig_of_site")) satisfies string;
  (await client.call("client_settings.autodiscover", { body: "<x/>" })) satisfies string;
}

function react(event: Event): void {
  switch (event.type) {
    case "account.created":
      console.log(event.data["address"], event.account_id);
      break;
    // @ts-expect-error no such type of event
    case "account.invented":
      break;
  }
}

export async function mistakes(): Promise<void> {
  // @ts-expect-error the body is missing
  await client.call("accounts.create");
  // @ts-expect-error local_part is required
  await client.call("accounts.create", { body: domain });
  // @ts-expect-error there is no such field
  await client.call("accounts.create", { body: { ...domain, local_part: "a", userId: "u" } });
  // @ts-expect-error the id is a number
  await client.call("accounts.get", { path: { id: "x" } });
  // @ts-expect-error there is no such status
  await client.call("accounts.update", { path, body: { status: "gone" } });
  // @ts-expect-error there is no such protocol
  await client.call("accounts.update", { path, body: { protocols: { lmtp: false } } });
  // @ts-expect-error no list
  client.list("accounts.create");
  // @ts-expect-error there is no such parameter
  client.list("accounts.get_page", { query: { userId: "u" } });
  try {
    await client.call("health.alive");
  } catch (error) {
    if (!(error instanceof PostroomError)) throw error;
    if (error.code === "limit_reached") console.log(error.limit);
    // @ts-expect-error there is no such code
    if (error.code === "invented") console.log(error);
  }
}

/** The forms of an account, without the client: the default fields of create, and those of `?fields=`. */
export function shown(account: components["schemas"]["CreatedAccount"]): string | undefined {
  return account.userId ?? account.user_id;
}
