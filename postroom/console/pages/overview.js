// The overview: counts, the health of the parts, and recent events.

import { call, can, current, get, health } from "../api.js";
import { buckets, columns, share } from "../charts.js";
import { fill, h } from "../dom.js";
import { eventLine } from "../event_words.js";
import { number, plural } from "../format.js";
import { button, card, empty, pageHead, region, status } from "../widgets.js";
import { createAccount } from "../account_actions.js";

const NAMES = { database: "Database", worker: "Worker", dovecot: "Dovecot · IMAP, POP3", postfix: "Postfix · SMTP", milter: "Milter · senders", opendkim: "OpenDKIM · signatures" };
const CHART_PAGES = 2;

export async function page(main, { go, signal }) {
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
    counts,
    h("div", { class: "columns" }, card("Accounts created", chart), card("Health", parts)),
    card("Recent events", recent, { actions: can("events:read") && h("a", { href: "/events" }, "All events") }),
  );
  await Promise.all([
    region(counts, () => tiles(signal), 1),
    region(parts, () => partsOf(), 4),
    can("events:read") ? happened(chart, recent, signal) : fill(recent, closed("events:read")) && fill(chart, closed("events:read")),
  ]);
}

function closed(scope) {
  return empty("keys", "Not for this key", `It lacks the scope ${scope}.`);
}

async function tiles(signal) {
  if (!can("stats:read")) return closed("stats:read");
  const stats = await get("/v2/stats?limit=500", { signal });
  const { total, active, suspended, disabled } = stats.accounts;
  const most = stats.domains.length === stats.limit ? `${stats.limit}+` : number(stats.domains.length);
  const tile = (href, label, value, note) =>
    h("a", { class: "tile", href }, h("span", { class: "label" }, label), h("span", { class: "value" }, value), note);
  return [
    tile("/accounts", "Accounts", number(total), share([[active, "active"], [suspended, "suspended"], [disabled, "disabled"]])),
    tile("/accounts?status=active", "Active", number(active), h("span", { class: "note" }, "can log in, send and receive")),
    tile("/accounts?status=suspended", "Suspended", number(suspended), h("span", { class: "note" }, disabled ? `and ${plural(disabled, "disabled", "disabled")}` : "mail waits, no login")),
    tile("/domains", "Domains", most, h("span", { class: "note" }, "with accounts")),
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
      Object.entries(found.parts || {}).map(([name, state]) =>
        h("li", null, h("span", null, NAMES[name] || name), state === "ok" ? status("active", "ok") : status("failed", state)),
      ),
    ),
  ];
}

/**
 * The newest events fill both the list and the chart, which shows the longest period that the
 * events cover completely.
 */
async function happened(chart, recent, signal) {
  const items = [];
  let isAll = false;
  await region(recent, async () => {
    let path = "/v2/events?order=newest&limit=500";
    for (let pages = 0; pages < CHART_PAGES && path; pages += 1) {
      const { data, next } = await call("GET", path, { signal });
      items.push(...data.items);
      path = next;
    }
    isAll = !path;
    return items.length
      ? h("ul", { class: "event-list" }, items.slice(0, 8).map((event) => eventLine(event)))
      : empty("events", "Nothing has happened yet", "Every change to accounts, domains and keys will be listed here.");
  }, 6);
  if (signal.aborted) return;
  const times = items.filter((event) => event.type === "account.created").map((event) => Date.parse(event.created_at));
  const covered = isAll || !items.length ? 0 : Date.parse(items.at(-1).created_at);
  const { title, bars } = buckets(times, covered);
  fill(chart, columns(title, bars, (count) => plural(count, "account")));
}
