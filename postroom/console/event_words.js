// Describes events in words.

import { address, h } from "./dom.js";
import { plural } from "./format.js";
import { moment } from "./widgets.js";

const WORDS = {
  "account.created": ["good", "Account created"],
  "account.updated": ["", "Account changed"],
  "account.renamed": ["", "Account renamed"],
  "account.suspended": ["warn", "Account suspended"],
  "account.disabled": ["warn", "Account disabled"],
  "account.resumed": ["good", "Account resumed"],
  "account.scripts_disabled": ["warn", "Scripts stopped"],
  "account.forwarding_changed": ["warn", "Forwarding changed"],
  "account.vacation_changed": ["", "Vacation changed"],
  "account.password_reset": ["", "Password reset"],
  "account.password_set": ["", "Password set by its owner"],
  "account.setup_link_created": ["", "Setup link made"],
  "account.owner_signed_in": ["", "Owner signed in"],
  "account.signed_out": ["", "Signed out everywhere"],
  "account.sessions_pending": ["warn", "Sessions still open"],
  "account.sessions_ended": ["good", "Sessions ended"],
  "account.deleted": ["bad", "Account deleted"],
  "account.restored": ["good", "Account restored"],
  "account.purged": ["bad", "Mail erased"],
  "account.quota_warning": ["warn", "Mailbox almost full"],
  "account.over_quota": ["bad", "Mailbox full"],
  "account.under_quota": ["good", "Mailbox has room again"],
  "account.send_limit_reached": ["warn", "Send limit reached"],
  "account.send_blocked": ["bad", "Blocked from sending"],
  "account.login_attack_started": ["bad", "Under attack"],
  "account.login_attack_ended": ["good", "Attack is over"],
  "account.moved": ["", "Moved to another machine"],
  "account.move_cancelled": ["", "Move to another machine cancelled"],
  "message.read": ["", "Mail read by a key"],
  "message.sent": ["", "Mail sent by a key"],
  "message.updated": ["", "Message changed by a key"],
  "message.deleted": ["bad", "Messages deleted by a key"],
  "mail_token.created": ["", "Mail token made with a key"],
  "credential.created": ["good", "App password added"],
  "credential.deleted": ["bad", "App password deleted"],
  "alias.created": ["good", "Alias added"],
  "alias.updated": ["", "Alias changed"],
  "alias.deleted": ["bad", "Alias deleted"],
  "alias.expired": ["warn", "Alias expired"],
  "alias.orphaned": ["warn", "Group without accounts"],
  "domain.created": ["good", "Domain added"],
  "domain.activated": ["good", "Domain active"],
  "domain.consented": ["", "Subdomain allowed"],
  "domain.deactivated": ["warn", "Domain inactive"],
  "domain.dkim_rotated": ["", "New DKIM key"],
  "domain.dkim_switched": ["", "New DKIM key signs"],
  "domain.route_changed": ["", "Route of mail changed"],
  "domain.lost": ["bad", "Domain lost to its owner"],
  "domain.expired": ["warn", "Claim expired"],
  "domain.suspended": ["warn", "Domain suspended"],
  "domain.deleted": ["bad", "Domain deleted"],
  "domain.degraded": ["warn", "Domain's DNS fails"],
  "domain.recovered": ["good", "Domain's DNS is right again"],
  "key.created": ["good", "Key made"],
  "key.revoked": ["bad", "Key revoked"],
  "webhook.created": ["good", "Webhook made"],
  "webhook.updated": ["", "Webhook changed"],
  "webhook.deleted": ["bad", "Webhook deleted"],
  "webhook.disabled": ["warn", "Webhook disabled"],
  "webhook.secret_rotated": ["", "New secret of a webhook"],
  "limits.changed": ["", "Limits changed"],
  "console.signed_in": ["", "Signed in to the console"],
};

/** The types of events for a list to choose from, with their words. */
export const TYPES = Object.entries(WORDS).map(([type, [, text]]) => [type, text]);

/** The type of an event in words; an unknown type is shown as it is. */
export function words(event) {
  const [tone, text] = WORDS[event.type] || ["", event.type.replace(/[._]/g, " ")];
  return h("span", { class: `event ${tone}` }, h("span", { class: "dot", "aria-hidden": "true" }), h("span", { title: event.type }, text));
}

/** The domain whose hidden account an event is about, or undefined. A catch-all has the same address. */
function hiddenOf({ type, data }) {
  return type.startsWith("alias.") ? undefined : /^\*@(.+)$/.exec(data.address)?.[1];
}

/** The object of an event, with a link to its page if there is one. */
export function subject(event) {
  const { data } = event;
  const hidden = hiddenOf(event);
  if (hidden) return h("span", null, `Mail that is not kept, ${hidden}`);
  const text = data.address || data.subdomain || data.domain || (data.prefix && `${data.prefix}…`) || data.host || event.user_id || "";
  if (!text || !event.account_id || event.type === "account.purged") return h("span", null, address(text));
  return h("a", { href: `/accounts/${event.account_id}` }, address(text));
}

export function detail(event) {
  const { changed, from, to, percent, old, new: rule, limit, failures, networks } = event.data;
  if (event.type === "webhook.disabled") return event.data.reason.replaceAll("_", " ");
  if (event.type.startsWith("credential.")) return event.data.name;
  if (percent) return `${percent} %`;
  if (rule) return [old, rule].map((each) => (each.enabled ? each.to.join(", ") : "off")).join(" → ");
  if (failures) return [plural(failures, "wrong password"), networks && `from ${plural(networks, "network")}`].filter(Boolean).join(" ");
  if (limit) return plural(event.data.number, limit.replaceAll("_", " ").replace("recipients", "recipient"), limit.replaceAll("_", " "));
  if (changed) return changed.map((name) => name.replaceAll("_", " ")).join(", ");
  return from && to ? `${from} → ${to}` : "";
}

// What an event without a key comes from, by its type: Postroom itself, or the operator's command line.
const POSTROOM = new Set([
  "account.sessions_ended", "account.purged", "account.quota_warning", "account.over_quota", "account.under_quota",
  "account.send_limit_reached", "account.send_blocked", "account.login_attack_started", "account.login_attack_ended",
  "credential.deleted", "alias.expired", "alias.orphaned", "domain.lost", "domain.degraded", "domain.recovered",
  "domain.expired", "domain.dkim_switched",
]);
const OPERATOR = new Set([
  "account.moved", "account.move_cancelled", "domain.created", "domain.suspended", "domain.deactivated", "domain.deleted",
  "limits.changed", "key.created", "key.revoked",
]);

/** Who made a change. The pages without a key are those of an account's owner. */
export function by(event) {
  const { type, data } = event;
  if (event.key_id) return `key ${event.key_id}`;
  if (event.request_id) return "its owner";
  if (POSTROOM.has(type) || (type === "webhook.disabled" && data.reason !== "key_revoked")) return "Postroom";
  // The DNS activates a pending domain only.
  if (OPERATOR.has(type) || type === "webhook.disabled" || (type === "domain.activated" && data.from !== "pending")) return "operator";
  return "Postroom or its operator";
}

/** An event as one line of a short list. */
export function eventLine(event) {
  return h(
    "li",
    null,
    words(event),
    h("span", { class: "subject" }, subject(event)),
    h("span", { class: "faint by" }, by(event)),
    h("span", { class: "faint" }, moment(event.created_at)),
  );
}
