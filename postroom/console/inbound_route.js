// How mail to a domain is handled, on its page: stored, and perhaps sent to a URL.

import { can, put, withQuery } from "./api.js";
import { fill, h } from "./dom.js";
import { secretPanel } from "./secret.js";
import { button, card, copyable, dialog, explain, facts, field, form, input, select, toast } from "./widgets.js";

const MODES = [
  ["webhook_then_store", "Stay in the mailboxes"],
  ["webhook", "Leave the mailbox once the URL has them"],
];
const ONCE = "Save this secret now. It will not be shown again.";

/** The card with the route of a domain. */
export function routeCard(domain, route, { path, user }) {
  const content = h("div", { class: "brief" });
  const actions = h("div", { class: "page-actions" });
  const send = async (body) => (await put(withQuery(`${path}/route`, { user_id: domain.user_id || user }), body));
  const draw = (now) => {
    const isSent = now.forward_mode !== "store";
    fill(content, isSent
      ? facts([["Each message", now.forward_mode === "webhook" ? "leaves its mailbox once it is sent to" : "is stored, and sent to"], ["URL", now.webhook_url ? copyable(now.webhook_url, "Copy the URL") : "set by the platform"]])
      : h("p", { class: "card-body faint" }, "Mail is stored in the mailboxes and sent nowhere else."));
    fill(actions,
      can("domains:write") && can("messages:read") && button(isSent ? "Change URL" : "Send to a URL", { onclick: () => change(now, send, draw) }),
      can("domains:write") && isSent && button("Only store", { onclick: () => end(send, draw) }));
  };
  draw(route);
  return card("Inbound mail", content, { actions });
}

async function change(now, send, draw) {
  await dialog("Send mail to a URL", (close, element) =>
    form(
      [
        h("p", { class: "lead" }, "Each message is stored first, then sent, signed, with links to its attachments. The webhook appears under Webhooks, with its deliveries."),
        field("URL", input("webhook_url", { autofocus: true, required: true, value: now.webhook_url || "", placeholder: "https://platform.example/mail", inputmode: "url" })),
        field("Sent messages", select("forward_mode", MODES, now.forward_mode), {
          hint: "Messages that leave stay until the URL has them, 7 days at most. Then addresses that have no account get mail too.",
        }),
      ],
      { verb: "Send to this URL", close },
      async (values) => {
        const made = await send({ forward_mode: values.forward_mode, webhook_url: values.webhook_url.trim() });
        draw(made.route);
        if (!made.webhook_secret) {
          close(true);
          toast("The URL is set");
          return;
        }
        fill(element.querySelector("h2"), "The URL is set");
        element.querySelector("form").replaceWith(secretPanel({ label: "Secret", secret: made.webhook_secret, note: ONCE, close }));
      },
    ),
  );
}

async function end(send, draw) {
  try {
    draw((await send({ forward_mode: "store" })).route);
    toast("Mail is only stored");
  } catch (problem) {
    toast(explain(problem));
  }
}
