// What became of the messages that an account has sent, on its page.

import { call, can, get } from "./api.js";
import { columns } from "./charts.js";
import { address, h } from "./dom.js";
import { number, plural } from "./format.js";
import { button, card, empty, facts, iconButton, moment, region, status } from "./widgets.js";

const SCOPE = "sent:read";
/** The words of a status, and its color. */
const STATUSES = { delivered: ["active", "Delivered"], delayed: ["suspended", "Still trying"], bounced: ["failed", "Not delivered"] };

/** The card with a chart of the last 30 days and the recipients whose status changed last. */
export function sentCard(account, { signal }) {
  const content = h("div", { class: "brief broad" });
  const load = () => region(content, async () => {
    if (!can(SCOPE)) return empty("keys", "Not for this key", `It lacks the scope ${SCOPE}.`);
    const [days, found] = await Promise.all([
      get(`/v2/email-accounts/${account.id}/sent/days`, { signal }),
      pageOf(`/v2/email-accounts/${account.id}/sent?limit=10`, signal),
    ]);
    const chart = chartOf(days.items);
    if (!found.length && !chart) return empty("events", "Nothing sent in the last 30 days", "What this account sends appears here, and whether it has arrived.");
    return [chart, ...found];
  }, { rows: 3 });
  load();
  return card("Sent mail", content, { actions: can(SCOPE) && iconButton("refresh", "Look at sent mail again", load) });
}

/** The chart of the recipients a day, or null if there were none. */
function chartOf(days) {
  const label = new Intl.DateTimeFormat("en", { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });
  const bars = days.map((one) => ({ label: label.format(new Date(one.day)), count: one.delivered + one.delayed + one.bounced, failed: one.bounced, delayed: one.delayed }));
  if (!bars.some((bar) => bar.count)) return null;
  const words = (bar) => [plural(bar.count, "recipient"), bar.failed && `${number(bar.failed)} not delivered`, bar.delayed && `${number(bar.delayed)} still waiting`].filter(Boolean).join(", ");
  const bounced = bars.reduce((sum, bar) => sum + bar.failed, 0);
  const noun = bars.reduce((sum, bar) => sum + bar.count, 0) === 1 ? "recipient" : "recipients";
  return h(
    "div",
    { class: "card-body" },
    columns({ noun, title: `the last 30 days${bounced ? `, ${number(bounced)} not delivered` : ""}`, bars }, words),
    h("p", { class: "faint" }, "Of mail that a mail client or a key has sent. Forwards and replies are not counted here."),
  );
}

/** The rows of one page, and a button that puts the next page in its place. */
async function pageOf(path, signal) {
  const { data, next } = await call("GET", path, { signal });
  if (!data.items.length) return [];
  const more = next && button("Show more", { onclick: async () => more.parentElement.replaceWith(...(await pageOf(next, signal))) });
  return [facts(data.items.map((one) => [address(one.recipient), about(one)])), more && h("div", { class: "more" }, more)].filter(Boolean);
}

function about(one) {
  const [color, words] = STATUSES[one.status];
  return [
    h("span", { class: "fate" }, status(color, words), h("span", { class: "faint" }, moment(one.status_at))),
    one.status !== "delivered" && one.reason && h("p", { class: "faint reason" }, one.reason),
  ];
}
