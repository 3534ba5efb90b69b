// One account: its data, its actions and its events.

import { can, get } from "../api.js";
import { settingsOf, settingsPath, settingsRows } from "../client_settings.js";
import { aliasesCard, rename } from "../aliases.js";
import { appPasswordsCard } from "../app_passwords.js";
import { changeStatus, deleteAccount, editName, editQuota, resetPassword, signOut } from "../account_actions.js";
import { address, h } from "../dom.js";
import { pathOf } from "../domain_actions.js";
import { by, detail, words } from "../event_words.js";
import { number, plural, size } from "../format.js";
import { pagedTable } from "../lists.js";
import { rules } from "../rules.js";
import { editSendLimits, sentFacts } from "../send_limits.js";
import { sentCard } from "../sent_mail.js";
import { makeSetupLink } from "../setup_links.js";
import { editSwitches, switchesWords } from "../switches.js";
import { button, card, copyable, empty, facts, iconButton, missing, moment, pageHead, region, status } from "../widgets.js";

const MEANS = {
  active: "Logs in, sends and receives.",
  suspended: "No login and no sending. Mail still arrives and waits.",
  disabled: "No login, no sending, and new mail is refused.",
};

export async function page(main, { part, go, signal }) {
  await region(main, async () => {
    const path = `/v2/email-accounts/${part}`;
    const [{ account }, servers] = await Promise.all([get(`${path}?fields=*`, { signal }), settingsOf({ id: part }, { signal })]);
    document.title = `${account.address} · Postroom`;
    return view(account, servers, { main, part, go, signal });
  }, { lost: () => missing("There is no such account", ["/accounts", "Accounts"]) });
}

function view(account, servers, context) {
  const again = () => page(context.main, context);
  const history = card("Events of this account", h("div"), { kind: "bare" });
  if (can("events:read")) {
    const list = pagedTable({
      label: "Events of this account",
      path: () => `/v2/events?account_id=${account.id}&order=newest&limit=20`,
      head: ["What", "Detail", "By", "When"],
      row: (event) => h("tr", null, h("td", null, words(event)), h("td", { class: "grow faint" }, event.type.startsWith("alias.") ? event.data.address : detail(event)), h("td", { class: "faint by" }, by(event)), h("td", { class: "nowrap" }, moment(event.created_at))),
      none: () => empty("events", "No events", "Nothing is known of this account."),
    });
    history.lastElementChild.replaceWith(list.element);
    list.show();
  }
  return [
    pageHead(address(account.address), { back: ["/accounts", "Accounts"], actions: can("accounts:write") && actions(account, context, again) }),
    h("div", { class: "columns" }, card("Account", about(account, again)), h("div", { class: "stack" }, card("Status", state(account, again)), mailbox(account, context, again))),
    aliasesCard(account, context),
    rules(account, context),
    appPasswordsCard(account, context),
    sentCard(account, context),
    sessions(account, context),
    settings(account, servers),
    can("events:read") && history,
  ];
}

function actions(account, { go }, again) {
  return [
    button("Reset password", { icon: "keys", onclick: async () => (await resetPassword(account)) && again() }),
    button("Make setup link", { onclick: async () => (await makeSetupLink(account)) && again() }),
    button("Delete", { kind: "danger-outline", onclick: async () => (await deleteAccount(account, () => go(`/accounts/${account.id}`))) && go("/accounts") }),
  ];
}

const PASSWORDS = { generated: "generated", chosen: "chosen", imported: "imported as a hash" };

function about(account, again) {
  const change = can("accounts:write") && button(account.display_name ? "Change" : "Add", { kind: "plain", onclick: async () => (await editName(account)) && again() });
  const renamed = can("accounts:write") && button("Rename", { kind: "plain", onclick: async () => (await rename(account)) && again() });
  const switched = can("accounts:write") && button("Change", { kind: "plain", "aria-label": "Change what it may be used for", onclick: async () => (await editSwitches(account)) && again() });
  return facts([
    ["Address", h("span", { class: "with-action" }, copyable(account.address, "Copy the address"), renamed)],
    ["Display name", h("span", { class: "with-action" }, h("span", null, account.display_name || h("span", { class: "faint" }, "none")), change)],
    ["User", h("span", null, h("a", { href: `/accounts?user_id=${encodeURIComponent(account.user_id)}` }, account.user_id), account.is_default && h("span", { class: "tag" }, "default account"))],
    ["Domain", h("a", { href: pathOf(account) }, account.domain)],
    ["Password", PASSWORDS[account.password_scheme] ? h("span", null, PASSWORDS[account.password_scheme]) : h("span", { class: "faint" }, "none yet")],
    ["Used for", h("span", { class: "with-action" }, switchesWords(account), switched)],
    ["Id", copyable(String(account.id), "Copy the id")],
    ["Created", moment(account.created_at)],
    ["Changed", moment(account.updated_at)],
    ["Last login", moment(account.last_login_at)],
  ]);
}

function state(account, again) {
  const to = (status_, text) => account.status !== status_ && button(text, { onclick: async () => (await changeStatus(account, status_)) && again() });
  return h(
    "div",
    { class: "card-body" },
    h("p", { class: "verdict" }, status(account.status)),
    h("p", { class: "faint" }, MEANS[account.status]),
    can("accounts:write") && h("div", { class: "buttons start" }, to("active", "Resume"), account.status === "active" && to("suspended", "Suspend"), to("disabled", "Disable")),
  );
}

/**
 * The amount of mail. Dovecot is asked for it, and may be unavailable while the rest of the page is
 * shown.
 */
function mailbox(account, { signal }, again) {
  const content = h("div", { class: "brief" });
  region(content, async () => {
    const usage = await get(`/v2/email-accounts/${account.id}/usage`, { signal });
    return facts([
      ["Used", h("span", { title: plural(usage.used_bytes, "byte") }, of(size(usage.used_bytes), usage.quota_bytes, size))],
      ["Messages", of(number(usage.messages), usage.quota_messages, number)],
      usage.over_quota && ["Full", h("span", { class: "tag warn" }, "new mail is refused")],
      ...sentFacts(account, usage.sent, again),
      ["Forwards", usage.forwards_by_script ? h("span", { class: "tag warn" }, "by a Sieve script") : h("span", { class: "faint" }, "no script forwards its mail")],
    ]);
  }, { rows: 2 });
  const change = button("Quota", { "aria-label": "Change the quota", onclick: async () => (await editQuota(account)) && again() });
  const sending = button("Send limits", { "aria-label": "Change the send limits", onclick: async () => (await editSendLimits(account)) && again() });
  return card("Mailbox", content, { actions: can("accounts:write") && h("div", { class: "buttons start" }, change, sending) });
}

/** An amount and its quota, in words. */
const of = (amount, quota, format) => (quota === null ? amount : `${amount} of ${format(quota)}`);

const PROTOCOLS = { imap: "IMAP", pop3: "POP3", managesieve: "ManageSieve" };

/** The open sessions: a mail client has several connections, which are shown as one line. */
function sessions(account, { signal }) {
  const content = h("div", { class: "brief" });
  const load = () => region(content, async () => {
    const found = (await get(`/v2/email-accounts/${account.id}/sessions`, { signal })).sessions;
    out.hidden = !found.length;
    if (!found.length) return empty("accounts", "Nobody is logged in", "Mail clients appear here while they are connected to read mail.");
    const counts = new Map();
    for (const { protocol, client_address: from } of found) counts.set(`${protocol} ${from}`, (counts.get(`${protocol} ${from}`) || 0) + 1);
    return facts(
      [...counts].map(([key, count]) => {
        const [protocol, from] = key.split(" ");
        return [PROTOCOLS[protocol] || protocol, h("span", { class: "with-action" }, h("code", null, from), h("span", { class: "faint nowrap" }, plural(count, "connection")))];
      }),
    );
  }, { rows: 2 });
  const out = button("Sign out everywhere", { kind: "danger-outline", hidden: true, onclick: async () => (await signOut(account)) && load() });
  const actions = h("div", { class: "buttons start" }, can("accounts:write") && out, iconButton("refresh", "Look again", load));
  load();
  return card("Open sessions", content, { actions });
}

function settings(account, servers) {
  const download = h("a", { class: "button", href: `${settingsPath(account)}.mobileconfig`, download: `${account.address}.mobileconfig`, "data-outside": "" }, "Profile for iPhone and Mac");
  return card(
    "Settings for mail clients",
    facts([
      ["User name", copyable(account.address, "Copy the user name")],
      ["Password", h("span", { class: "faint" }, "shown once, when the account was made; a reset makes another")],
      ...settingsRows(servers),
    ]),
    { actions: (servers.imap.length || servers.pop3.length) && download },
  );
}
