// Webhooks: the URLs that events and mail are sent to.

import { can, withQuery } from "../api.js";
import { fill, h } from "../dom.js";
import { pagedTable } from "../lists.js";
import { createWebhook } from "../webhook_actions.js";
import { button, empty, moment, pageHead, status } from "../widgets.js";

export async function page(main, { go }) {
  const list = pagedTable({
    label: "Webhooks",
    path: () => withQuery("/v2/webhooks", { limit: 50 }),
    head: ["URL", "Events", "Only for", "Status", "Last success"],
    row,
    none: () => empty("webhooks", "No webhooks", "A webhook sends events and mail to a URL of yours as they happen, signed."),
  });
  const create = async () => {
    const made = await createWebhook();
    if (made) go(`/webhooks/${made.id}`);
  };
  fill(
    main,
    pageHead("Webhooks", {
      lead: "Events are sent to these URLs as they happen, and mail to those that ask for it, each signed with the webhook's secret.",
      actions: can("webhooks:write") && can("events:read") && button("Create webhook", { icon: "plus", kind: "primary", onclick: create }),
    }),
    list.element,
  );
  await list.show();
}

function row(webhook) {
  return h(
    "tr",
    null,
    h("td", { class: "wrap" }, h("a", { href: `/webhooks/${webhook.id}` }, webhook.url), webhook.description && h("div", { class: "faint" }, webhook.description)),
    h("td", { class: "clip", title: webhook.events.join("\n") }, webhook.events.join(", ")),
    h("td", { class: "clip" }, boundsOf(webhook) || h("span", { class: "faint" }, "everything")),
    h("td", null, status(webhook.status)),
    h("td", { class: "nowrap" }, moment(webhook.last_success_at)),
  );
}

/** Whose events it gets, in words. */
export function boundsOf({ user_id: user, domain, account_id: account }) {
  return [user && `user ${user}`, domain, account && `account ${account}`].filter(Boolean).join(", ");
}
