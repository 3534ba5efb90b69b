// A password or a key, shown once.

import { h, icon } from "./dom.js";
import { button, copy, say } from "./widgets.js";

export function secretPanel({ label, secret, note, lines = [], close, done = "Done" }) {
  const shown = h("code", { class: "secret", tabindex: "0", "aria-label": label }, secret);
  const copyIt = button("Copy", {
    icon: "copy",
    kind: "primary",
    autofocus: true,
    onclick: async () => {
      const worked = await copy(secret);
      copyIt.querySelector("span").textContent = worked ? "Copied" : "Select and copy";
      copyIt.querySelector(".icon").replaceWith(icon(worked ? "check" : "copy"));
      say(worked ? "Copied" : "Select the text and copy it by hand");
      if (!worked) getSelection().selectAllChildren(shown);
    },
  });
  const panel = h(
    "div",
    { class: "form secret-panel" },
    lines,
    h("div", { class: "field" }, h("span", { class: "label" }, label), h("div", { class: "secret-line" }, shown, copyIt)),
    h("p", { class: "once" }, icon("alert"), h("span", null, note)),
    h("div", { class: "buttons" }, button(done, { onclick: () => close(true) })),
  );
  setTimeout(() => {
    copyIt.focus();
    // The secret is not shown again, so Escape must not close the dialog before it is copied.
    panel.closest("dialog").addEventListener("cancel", (event) => copyIt.textContent !== "Copied" && event.preventDefault());
  });
  return panel;
}
