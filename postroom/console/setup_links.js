// Setup links, with which the owner of an account sets its password.

import { post } from "./api.js";
import { fill, h } from "./dom.js";
import { when } from "./format.js";
import { secretPanel } from "./secret.js";
import { copyable, dialog, field, form, select } from "./widgets.js";

const LIVES = [["3600", "An hour"], ["86400", "A day"], ["604800", "A week"], ["2592000", "30 days"]];

/** The link of an account, shown once. */
export function linkPanel(account, made, { close }) {
  return secretPanel({
    label: "Setup link",
    secret: made.setup_url,
    note: `The link works once, until ${when(made.setup_expires_at)}. Send it to the owner alone, who sets the password with it.`,
    lines: [h("div", { class: "field" }, h("span", { class: "label" }, "Address and user name"), copyable(account.address, "Copy the address"))],
    close,
  });
}

export async function makeSetupLink(account) {
  return dialog("Make setup link", (close, element) =>
    form(
      [
        h("p", { class: "lead" }, "With the link, the owner of ", h("strong", null, account.address), " sets its password, once. The password in use works until then. An earlier link ends."),
        field("It works for", select("expires_in", LIVES, "86400", { autofocus: true })),
      ],
      { verb: "Make setup link", close },
      async ({ expires_in }) => {
        const made = await post(`/v2/email-accounts/${account.id}/setup-link`, { expires_in: Number(expires_in) });
        fill(element.querySelector("h2"), "Setup link made");
        element.querySelector("form").replaceWith(linkPanel(account, made, { close }));
      },
    ),
  );
}
