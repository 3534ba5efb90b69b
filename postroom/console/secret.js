// A password or a key, shown once, with what is handed on together with it.

import { settingsOf, settingsRows, settingsText } from "./client_settings.js";
import { h, icon } from "./dom.js";
import { button, copy, copyable, facts, region, say } from "./widgets.js";

/** `lines` are shown above the secret, `below` under it; `extra` are buttons beside Done. */
export function secretPanel({ label, secret, note, lines = [], below, extra, close, done = "Done" }) {
  const shown = h("code", { class: "secret", tabindex: "0", "aria-label": label }, secret);
  const copyIt = copyOnce("Copy", () => secret, { kind: "primary", autofocus: true, otherwise: shown });
  const panel = h(
    "div",
    { class: "form secret-panel" },
    lines,
    h("div", { class: "field" }, h("span", { class: "label" }, label), h("div", { class: "secret-line" }, shown, copyIt)),
    h("p", { class: "once" }, icon("alert"), h("span", null, note)),
    below,
    h("div", { class: "buttons" }, extra, button(done, { onclick: () => close(true) })),
  );
  setTimeout(() => copyIt.focus());
  return panel;
}

/** A button that copies `text()` and says so for as long as it is there. */
function copyOnce(words, text, { otherwise, ...props } = {}) {
  const control = button(words, {
    icon: "copy",
    onclick: async () => {
      const worked = await copy(text());
      control.querySelector("span").textContent = worked ? "Copied" : "Select and copy";
      control.querySelector(".icon").replaceWith(icon(worked ? "check" : "copy"));
      control.classList.toggle("copied", worked);
      say(worked ? "Copied" : "Select the text and copy it by hand");
      if (!worked && otherwise) getSelection().selectAllChildren(otherwise);
    },
    ...props,
  });
  return control;
}

/**
 * The password of an account with all that its user enters in a mail client. The owner's page knows
 * the servers already, as `account.settings`.
 */
export function passwordPanel(account, made, { label = "Password", close }) {
  let servers = null;
  const settings = h("div", { class: "handed-on" });
  const all = copyOnce("Copy all", () => settingsText(servers, made.password), { disabled: true });
  region(settings, async () => {
    servers = account.settings || (await settingsOf(account));
    all.disabled = false;
    return facts(settingsRows(servers));
  }, { rows: 2 });
  return secretPanel({
    label,
    secret: made.password,
    note: made.note,
    lines: [h("div", { class: "field" }, h("span", { class: "label" }, "Address and user name"), copyable(account.address, "Copy the address"))],
    below: settings,
    extra: all,
    close,
  });
}
