// One webhook: what it gets, whether it works, and its secret.

import { can, get } from "../api.js";
import { h } from "../dom.js";
import { deleteWebhook, editWebhook, enableWebhook, rotateSecret } from "../webhook_actions.js";
import { deliveriesCard } from "../webhook_deliveries.js";
import { button, card, copyable, facts, missing, moment, pageHead, region, status } from "../widgets.js";
import { boundsOf } from "./webhooks.js";

const REASONS = {
  key_revoked: "Its key was revoked. Make a new secret before you make it active, if the key was stolen.",
  failing: "Its endpoint has failed for too long.",
  gone: "Its endpoint has said that it is gone (410).",
};

export async function page(main, { part, go, signal }) {
  await region(main, async () => {
    const { webhook } = await get(`/v2/webhooks/${part}`, { signal });
    document.title = `Webhook ${webhook.id} · Postroom`;
    return view(webhook, { main, part, go, signal });
  }, { lost: () => missing("There is no such webhook", ["/webhooks", "Webhooks"]) });
}

function view(webhook, context) {
  const again = () => page(context.main, context);
  return [
    pageHead(`Webhook ${webhook.id}`, { back: ["/webhooks", "Webhooks"], actions: can("webhooks:write") && actions(webhook, context, again) }),
    h("div", { class: "columns" }, card("Webhook", about(webhook)), card("Status", state(webhook))),
    deliveriesCard(webhook, context),
  ];
}

function actions(webhook, { go }, again) {
  return [
    webhook.status === "disabled" && button("Make active", { kind: "primary", onclick: async () => (await enableWebhook(webhook)) && again() }),
    button("Change", { onclick: async () => (await editWebhook(webhook)) && again() }),
    button("New secret", { icon: "keys", onclick: async () => (await rotateSecret(webhook)) && again() }),
    button("Delete", { kind: "danger-outline", onclick: async () => (await deleteWebhook(webhook)) && go("/webhooks") }),
  ];
}

function about(webhook) {
  return facts([
    ["URL", copyable(webhook.url, "Copy the URL")],
    ["Events", h("span", { class: "tags" }, webhook.events.map((type) => h("span", { class: "tag" }, type)))],
    ["Only for", boundsOf(webhook) || h("span", { class: "faint" }, "everything")],
    ["Description", webhook.description || h("span", { class: "faint" }, "none")],
    ["Created", moment(webhook.created_at)],
  ]);
}

function state(webhook) {
  return facts([
    ["Status", status(webhook.status)],
    webhook.disabled_reason && ["Why", REASONS[webhook.disabled_reason] || webhook.disabled_reason],
    ["Last success", moment(webhook.last_success_at)],
    webhook.failing_since && ["Failing since", moment(webhook.failing_since)],
    webhook.former_secret_ends_at && ["Former secret signs until", moment(webhook.former_secret_ends_at)],
  ]);
}
