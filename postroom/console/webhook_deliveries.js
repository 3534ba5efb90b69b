// What became of the events and messages that were sent to a webhook, on its page: the newest
// deliveries, sending again, and a test.

import { call, can, get, post } from "./api.js";
import { address, h } from "./dom.js";
import { number, plural } from "./format.js";
import { button, card, empty, explain, facts, iconButton, moment, region, status, toast } from "./widgets.js";

/** The color of a status, and its words. */
const STATUSES = { delivered: ["active", "Delivered"], pending: ["suspended", "Still trying"], failed: ["failed", "Not delivered"] };

/** The card with the newest deliveries of a webhook. */
export function deliveriesCard(webhook, { signal }) {
  const content = h("div", { class: "brief broad" });
  const path = `/v2/webhooks/${webhook.id}`;
  const load = () => region(content, async () => {
    const found = await pageOf(`${path}/deliveries?limit=10`, { path, signal, load });
    if (!found.length) return empty("events", "Nothing was sent yet", "What is sent to this webhook appears here, and whether it has arrived.");
    return found;
  }, { rows: 3 });
  load();
  const mayWrite = can("webhooks:write");
  return card("Deliveries", content, {
    actions: [
      mayWrite && button("Send a test", { onclick: () => said(() => test(path)) }),
      mayWrite && webhook.status === "active" && button("Replay failed", { onclick: () => said(() => replayFailed(path), load) }),
      iconButton("refresh", "Look at the deliveries again", load),
    ].filter(Boolean),
  });
}

/** The rows of one page, and a button that puts the next page in its place. */
async function pageOf(from, context) {
  const { data, next } = await call("GET", from, { signal: context.signal });
  if (!data.items.length) return [];
  const names = await namesOf(data.items, context.signal);
  const more = next && button("Show more", { onclick: async () => more.parentElement.replaceWith(...(await pageOf(next, context))) });
  return [facts(data.items.map((one) => [one.type, about(one, names, context)])), more && h("div", { class: "more" }, more)].filter(Boolean);
}

/**
 * The addresses of the accounts that messages came to, by id. There is none for an account that
 * cannot be opened: one that is deleted, or one for mail that is not kept.
 */
async function namesOf(deliveries, signal) {
  const ids = [...new Set(deliveries.filter((one) => one.message).map((one) => one.message.account_id))];
  const asked = can("accounts:read") ? ids.map((id) => get(`/v2/email-accounts/${id}`, { signal })) : [];
  const found = await Promise.allSettled(asked);
  return new Map(found.filter((each) => each.value).map(({ value: { account } }) => [account.id, account.address]));
}

function about(one, names, { path, load }) {
  const [color, words] = STATUSES[one.status];
  const again = one.status !== "pending" && can("webhooks:write") &&
    iconButton("refresh", one.message ? `Send message ${one.message.id} again` : `Send event ${one.event_id} again`, () => said(async () => {
      await post(`${path}/replay`, { delivery_id: one.id });
      return "It is sent again";
    }, load));
  return [
    h("span", { class: "fate" }, status(color, words), h("span", { class: "faint" }, moment(one.created_at)), again),
    one.message && h("p", { class: "faint reason" }, "to ", receiver(one.message.account_id, names)),
    one.status !== "delivered" && one.last_error && h("p", { class: "faint reason" }, one.last_error),
    one.next_at && h("p", { class: "faint reason" }, plural(one.attempts, "attempt"), "; the next one: ", moment(one.next_at)),
  ];
}

function receiver(id, names) {
  if (names.has(id)) return h("a", { href: `/accounts/${id}` }, address(names.get(id)));
  return can("accounts:read") ? `account ${id}, which is deleted or of mail that is not kept` : `account ${id}`;
}

/** Does something and says what came of it, or why it was refused. */
async function said(work, after = () => {}) {
  try {
    toast(await work());
    after();
  } catch (problem) {
    toast(explain(problem));
  }
}

async function test(path) {
  const { attempt } = await post(`${path}/test`, {});
  const took = `${number(attempt.duration_ms)} ms`;
  return attempt.delivered ? `The test has arrived, in ${took}` : `The test has failed: ${attempt.error}`;
}

async function replayFailed(path) {
  let sent = 0;
  for (let more = true; more;) {
    const answer = await post(`${path}/replay`, { failed: true });
    sent += answer.replayed;
    more = answer.more;
  }
  return sent ? `${plural(sent, "delivery", "deliveries")} sent again` : "None has failed";
}
