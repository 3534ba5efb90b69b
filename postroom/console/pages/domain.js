// One domain: the DNS records that it needs, whether they are there, and how to fix those that are not.

import { can, current, get, post, withQuery } from "../api.js";
import { createAccount } from "../account_actions.js";
import { fill, h, icon } from "../dom.js";
import { button, card, confirm, copyable, explain, pageHead, region, status, toast } from "../widgets.js";

const PURPOSES = {
  ownership: "Proves that the domain is yours",
  mx: "Brings mail here",
  spf: "Lets this server send for the domain",
  dkim: "Signs what is sent",
  dmarc: "Says how receivers treat forgeries",
  tls_rpt: "Reports on encryption",
  mta_sts: "Requires encryption",
  mta_sts_host: "Serves the encryption policy",
  submission: "Mail clients find the sending server",
  submissions: "Mail clients find the sending server",
  imaps: "Mail clients find the reading server",
  pop3s: "Mail clients find the POP3 server",
  sieve: "Mail clients find the filter server",
  autoconfig: "Thunderbird finds all settings",
  autodiscover: "Outlook finds all settings",
};
const SIGNS = { ok: ["good", "check", "Found"], missing: ["bad", "cross", "Missing"], differs: ["warn", "alert", "Differs"], unanswered: ["warn", "alert", "No answer"] };

export async function page(main, context) {
  // A platform domain belongs to nobody: any user sees it.
  const user = current().key.user_id || new URLSearchParams(location.search).get("user_id") || "console";
  await region(main, async () => {
    const path = `/v2/domains/${encodeURIComponent(context.part)}`;
    const found = await get(withQuery(`${path}/info`, { user_id: user, fields: "*" }), { signal: context.signal });
    document.title = `${found.domain.domain} · Postroom`;
    return view(found, { ...context, main, path, user });
  });
}

// Names for trying things out, which the public DNS never has (RFC 6761); the demo's and the first host name's is .test.
const RESERVED = /\.(test|invalid|localhost)$/;

/** What a newcomer asks: why it is active without any record, who may use it, and what these names are. */
function notes(domain, mx) {
  const isTrial = RESERVED.test(domain.domain);
  return [
    domain.activated_by === "operator" &&
      `The operator has made this domain ${domain.status}, so no record is required for it, and its DNS is not checked. ${isTrial ? "" : "To exchange mail with the Internet, it still needs the records below."}`,
    !domain.user_id && "A platform domain: every user of the organization may have accounts on it.",
    isTrial &&
      `No name under .${domain.domain.split(".").at(-1)} is in the public DNS: this domain is for trying things out, with mail that stays on this server. For a real one: Domains, Add domain, publish the records that are shown, Check DNS now.`,
    RESERVED.test(mx.host) &&
      `${mx.host} is what this server calls itself until the operator gives it a real name (POSTROOM_HOSTNAME). Records that lead to it do not work outside this server: set the name first.`,
  ].filter(Boolean);
}

function view({ domain, dns, mx }, context) {
  const records = h("div", { class: "stack" });
  const verdict = h("div");
  const draw = (info) => {
    fill(verdict, summary(info));
    const byOperator = RESERVED.test(domain.domain) ? "What a real domain would need" : "Required to exchange mail with the Internet";
    const needed = domain.activated_by === "operator" ? byOperator : "Required";
    fill(records, group(needed, info.dns.filter((record) => record.required)), group("Recommended", info.dns.filter((record) => !record.required)));
  };
  draw({ domain, dns });
  const check = button("Check DNS now", { icon: "refresh", kind: domain.status === "pending" ? "primary" : "", onclick: () => verify(check, draw, domain, context) });
  return [
    pageHead(domain.domain, {
      back: ["/domains", "Domains"],
      actions: [
        can("accounts:write") && domain.status === "active" && button("Create account", { icon: "plus", onclick: () => createAccount({ go: context.go, domain: domain.domain, user: domain.user_id || "" }) }),
        can("domains:write") && check,
        can("domains:write") && button("Delete", { kind: "danger-outline", onclick: () => remove(domain, context) }),
      ],
    }),
    verdict,
    h("div", { class: "notes" }, notes(domain, mx).map((text) => h("p", null, text))),
    records,
  ];
}

function summary({ domain, dns }) {
  const checked = dns.some((record) => record.status);
  const required = dns.filter((record) => record.required);
  const right = required.filter((record) => record.status === "ok").length;
  const texts = {
    pending: checked ? `${right} of ${required.length} required records are right.` : "Publish the required records at your DNS provider, then check.",
    active: domain.degraded_at ? `Checks fail: ${domain.degraded_reason || "the DNS has changed"}. Mail still works.` : checked ? `${right} of ${required.length} required records are right.` : "Accounts can be made.",
    suspended: "No account can be made.",
  };
  return h(
    "div",
    { class: "banner" },
    status(domain.status),
    h("span", null, texts[domain.status]),
    h("span", { class: "faint end" }, domain.user_id ? `user ${domain.user_id}` : "platform domain"),
  );
}

async function verify(control, draw, domain, { path, user }) {
  control.disabled = true;
  control.classList.add("busy");
  try {
    const info = await post(withQuery(`${path}/verify`, { fields: "*" }), { user_id: user });
    draw({ ...info, domain: { ...domain, ...info.domain } });
    toast(info.domain.status === "active" ? "The domain is active" : "Checked");
  } catch (problem) {
    toast(explain(problem));
  } finally {
    control.disabled = false;
    control.classList.remove("busy");
  }
}

function group(title, records) {
  if (!records.length) return null;
  return card(title, h("ul", { class: "records" }, records.map(recordLine)));
}

function recordLine(record) {
  const [tone, sign, text] = SIGNS[record.status] || ["", "", ""];
  return h(
    "li",
    { class: `record ${tone}` },
    h("div", { class: "record-head" }, h("span", { class: "type" }, record.record_type), h("span", null, PURPOSES[record.purpose] || record.purpose), text && h("span", { class: `sign ${tone}` }, icon(sign), text)),
    h(
      "div",
      { class: "record-values" },
      line("Host", copyable(record.host, `Copy the host of ${record.record_type}`)),
      record.priority !== undefined && line("Priority", h("code", null, String(record.priority))),
      line("Value", copyable(record.expected_value, `Copy the value of ${record.record_type} ${record.host}`)),
      record.found?.length > 0 && record.status !== "ok" && line("Found", record.found.map((value) => h("code", { class: "found" }, typeof value === "string" ? value : JSON.stringify(value)))),
    ),
    record.fix && h("p", { class: "fix" }, record.fix),
  );
}

function line(name, value) {
  return h("div", null, h("span", { class: "label" }, name), h("span", { class: "value" }, value));
}

async function remove(domain, { go, user }) {
  const text = "Anybody can then claim the name. A domain with accounts cannot be deleted: delete the accounts first.";
  const done = await confirm(`Delete ${domain.domain}?`, text, "Delete", () => post("/v2/domains/delete", { domain: domain.domain, user_id: domain.user_id || user }));
  if (!done) return;
  toast(`${domain.domain} is deleted`);
  go("/domains");
}
