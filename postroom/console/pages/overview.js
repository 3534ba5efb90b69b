// The overview: counts, the health of the parts, and recent events.

import { call, can, current, get, health } from "../api.js";
import { buckets, columns, share } from "../charts.js";
import { fill, h } from "../dom.js";
import { firstDomain, hasNone, usableDomains } from "../domain_actions.js";
import { eventLine } from "../event_words.js";
import { number, plural } from "../format.js";
import { button, card, empty, pageHead, region, status } from "../widgets.js";
import { createAccount } from "../account_actions.js";

const NAMES = { database: "Database", worker: "Worker", dovecot: "Dovecot · IMAP, POP3", postfix: "Postfix · SMTP", milter: "Milter · senders", opendkim: "OpenDKIM · signatures" };
const CHART_PAGES = 2;

export async function page(main, { go, signal }) {
  const start = h("div", { class: "start" });
  const counts = h("div", { class: "tiles" });
  const chart = h("div", { class: "card-body" });
  const parts = h("div", { class: "card-body" });
  const recent = h("div", { class: "card-body flush" });
  fill(
    main,
    pageHead("Overview", {
      lead: current().organization,
      actions: can("accounts:write") && button("Create account", { icon: "plus", kind: "primary", onclick: () => createAccount({ go }) }),
    }),
    start,
    counts,
    h("div", { class: "columns" }, card("Accounts created", chart), card("Health", parts)),
    card("Recent events", recent, { actions: can("events:read") && h("a", { href: "/events" }, "All events") }),
  );
  await Promise.all([
    can("accounts:write") && usableDomains(signal).then(
      (found) => hasNone(found) && fill(start, card(null, empty("domains", ...firstDomain(found, go)))),
      () => {}, // the page says elsewhere what fails
    ),
    region(counts, () => tiles(signal), { rows: 1 }),
    region(parts, () => partsOf(), { rows: 4 }),
    ...(can("events:read") ? happened(chart, recent, signal) : [chart, recent].map((element) => fill(element, closed("events:read")))),
  ]);
}

function closed(scope) {
  return empty("keys", "Not for this key", `It lacks the scope ${scope}.`);
}

async function tiles(signal) {
  if (!can("stats:read")) return closed("stats:read");
  const stats = await get("/v2/stats?limit=500", { signal });
  const { total, active, suspended, disabled } = stats.accounts;
  // The counts stay after a domain's last account is deleted.
  const used = stats.domains.filter((domain) => domain.accounts.total > 0).length;
  const domains = stats.domains.length === stats.limit ? `${number(used)}+` : number(used);
  const tile = (href, label, value, note) =>
    h("a", { class: "tile", href }, h("span", { class: "label" }, label), h("span", { class: "value" }, value), note);
  return [
    tile("/accounts", "Accounts", number(total), share([[active, "active"], [suspended, "suspended"], [disabled, "disabled"]])),
    tile("/accounts?status=active", "Active", number(active), h("span", { class: "note" }, "can log in, send and receive")),
    tile("/accounts?status=suspended", "Suspended", number(suspended), h("span", { class: "note" }, disabled ? `and ${plural(disabled, "disabled", "disabled")}` : "mail waits, no login")),
    tile("/domains", "Domains", domains, h("span", { class: "note" }, "with accounts")),
  ];
}

async function partsOf() {
  const found = await health();
  const isFine = found.status === "ready";
  return [
    h("p", { class: "verdict" }, status(isFine ? "active" : "disabled", isFine ? "Everything runs" : "Something does not run")),
    h(
      "ul",
      { class: "parts" },
      Object.entries(found.parts).map(([name, state]) =>
        h("li", null, h("span", null, NAMES[name] || name), state === "ok" ? status("active", "ok") : status("failed", state)),
      ),
    ),
  ];
}

/**
 * The newest events fill both the list and the chart. Each has its own error, and asks again by
 * itself.
 */
function happened(chart, recent, signal) {
  let asked = null;
  const newest = () => {
    asked ||= newestEvents(signal).catch((problem) => {
      asked = null;
      throw problem;
    });
    return asked;
  };
  return [region(recent, async () => listed(await newest()), { rows: 6 }), region(chart, async () => counted(await newest()), { rows: 4 })];
}

/** The newest events, and the time since when they are all of them (ms since 1970). */
async function newestEvents(signal) {
  const items = [];
  let path = "/v2/events?order=newest&limit=500";
  for (let pages = 0; pages < CHART_PAGES && path; pages += 1) {
    const { data, next } = await call("GET", path, { signal });
    items.push(...data.items);
    path = next;
  }
  return { items, covered: path ? Date.parse(items.at(-1).created_at) : 0 };
}

function listed({ items }) {
  if (!items.length) return empty("events", "Nothing has happened yet", "Every change to accounts, domains and keys will be listed here.");
  return h("ul", { class: "event-list" }, items.slice(0, 8).map((event) => eventLine(event)));
}

/** The chart shows the longest period that the events cover completely. */
function counted({ items, covered }) {
  const times = items.filter((event) => event.type === "account.created").map((event) => Date.parse(event.created_at));
  return columns(buckets(times, covered), (bar) => plural(bar.count, "account"));
}
