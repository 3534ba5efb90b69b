// The switches of an account: for which protocols its passwords may be used, and whether its main
// password logs in.

import { put } from "./api.js";
import { PROTOCOLS } from "./app_passwords.js";
import { h } from "./dom.js";
import { dialog, form, toast } from "./widgets.js";

/** What is on, in words. */
export function switchesWords(account) {
  const on = Object.keys(PROTOCOLS).filter((name) => account.protocols[name]);
  const only = !account.main_password && h("span", { class: "faint" }, " · app passwords only");
  return h("span", null, on.map((name) => PROTOCOLS[name]).join(", ") || "nothing", only);
}

export async function editSwitches(account) {
  const check = (name, text, checked) => h("label", { class: "check" }, h("input", { type: "checkbox", name, checked }), text);
  return dialog("Change what it may be used for", (close) =>
    form(
      [
        h("p", { class: "lead" }, "What you switch off works with no password, and its open sessions end. Mail still arrives."),
        h("fieldset", { class: "field", dataset: { field: "protocols" } },
          h("legend", null, "It may be used for"),
          h("div", { class: "checks" }, Object.entries(PROTOCOLS).map(([name, words]) => check(name, words, account.protocols[name]))),
          h("p", { class: "error" })),
        check("main_password", "Its main password logs in; app passwords do so either way", account.main_password),
      ],
      { verb: "Save", close },
      async (values) => {
        const protocols = Object.fromEntries(Object.keys(PROTOCOLS).map((name) => [name, name in values]));
        const body = { protocols, main_password: "main_password" in values };
        const done = await put(`/v2/email-accounts/${account.id}?fields=sessions_ended`, body);
        close(done);
        toast(done.account.sessions_ended === false ? "Dovecot does not answer now. The sessions end as soon as it does." : "What it may be used for is saved");
      },
    ),
  );
}
