// Webhooks: making, changing and deleting them, and their secrets, which are shown once.

import { current, post, put } from "./api.js";
import { fill, h } from "./dom.js";
import { secretPanel } from "./secret.js";
import { confirm, dialog, field, form, input, toast } from "./widgets.js";

const EVENTS_HINT = "Types such as account.created, all of a kind such as account.*, or * for all; separated by spaces. message.received is mail: * does not include it.";

const words = (text) => text.split(/[\s,]+/).filter(Boolean);

function fields(webhook) {
  return [
    field("URL", input("url", { autofocus: true, required: true, value: webhook?.url || "", placeholder: "https://platform.example/hook", inputmode: "url" })),
    field("Events", input("events", { required: true, value: webhook ? webhook.events.join(" ") : "*" }), { hint: EVENTS_HINT }),
    field("Description", input("description", { value: webhook?.description || "", maxlength: "255", placeholder: "Billing system", spellcheck: "true" }), { hint: "Your note about the webhook." }),
  ];
}

function bodyOf(values) {
  return { url: values.url.trim(), events: words(values.events), description: values.description.trim() || null };
}

function panel(made, close) {
  return secretPanel({ label: "Secret", secret: made.secret, note: made.note, close });
}

/** Makes a webhook. Resolves with it when its secret was seen. */
export async function createWebhook() {
  const own = current().key;
  let webhook;
  await dialog("Create webhook", (close, element) =>
    form(
      [
        fields(),
        h("div", { class: "pair" },
          field("Only for user", input("user_id", { placeholder: own.user_id || "any user", value: own.user_id || "", readonly: Boolean(own.user_id) })),
          field("Only for domain", input("domain", { placeholder: "any domain", value: own.domains?.[0] || "" }))),
      ],
      { verb: "Create webhook", close },
      async (values) => {
        const body = bodyOf(values);
        if (values.user_id) body.user_id = values.user_id;
        if (values.domain.trim()) body.domain = values.domain.trim();
        const made = await post("/v2/webhooks/create", body);
        webhook = made.webhook;
        fill(element.querySelector("h2"), "Webhook created");
        element.querySelector("form").replaceWith(panel(made, close));
      },
    ),
  );
  return webhook;
}

export async function editWebhook(webhook) {
  return dialog("Change webhook", (close) =>
    form(fields(webhook), { verb: "Save", close }, async (values) => {
      await put(`/v2/webhooks/${webhook.id}`, bodyOf(values));
      close(true);
      toast("Webhook changed");
    }),
  );
}

/** Makes a new secret and shows it. Resolves when the dialog is closed. */
export async function rotateSecret(webhook) {
  let isDone = false;
  await dialog("New secret", (close, element) =>
    form(
      [h("p", { class: "lead" }, "The present secret signs beside the new one for 24 hours. Put the new one into your endpoint within this time. A secret from before the present one ends now.")],
      { verb: "Make a new secret", close },
      async () => {
        const made = await post(`/v2/webhooks/${webhook.id}/secret/rotate`, {});
        isDone = true;
        element.querySelector("form").replaceWith(panel(made, close));
      },
    ),
  );
  return isDone;
}

export async function enableWebhook(webhook) {
  const done = await confirm(
    "Make the webhook active?",
    "It gets events and mail from now on, and begins without failures. From this moment it belongs to your key: if your key is revoked, the webhook is disabled.",
    "Make active",
    () => put(`/v2/webhooks/${webhook.id}`, { status: "active" }),
    { kind: "primary" },
  );
  if (done) toast("The webhook is active");
  return done;
}

export async function deleteWebhook(webhook) {
  const done = await confirm("Delete the webhook?", "Nothing is sent to its URL any more.", "Delete", () => post("/v2/webhooks/delete", { id: webhook.id }));
  if (done) toast("Webhook deleted");
  return done;
}
