// App passwords on an account's page.

import { can, get, post } from "./api.js";
import { fill, h } from "./dom.js";
import { passwordPanel } from "./secret.js";
import { button, card, confirm, dialog, empty, facts, field, form, iconButton, input, moment, region, toast } from "./widgets.js";

const PROTOCOLS = { imap: "IMAP", pop3: "POP3", smtp: "Sending", sieve: "Sieve" };
const SCOPE = "credentials:write";

/** The card with an account's app passwords. */
export function appPasswordsCard(account, { signal }) {
  const path = `/v2/email-accounts/${account.id}/app-passwords`;
  const content = h("div", { class: "brief" });
  const load = () => region(content, async () => {
    const found = (await get(path, { signal })).app_passwords;
    const hint = can(SCOPE) ? "" : ` A key with the scope ${SCOPE} can add one.`;
    if (!found.length) return empty("keys", "No app password", `An app password is for one program or device, and can be deleted alone.${hint}`);
    return facts(found.map((one) => [one.name, about(one, path, load)]));
  }, { rows: 2 });
  const add = button("Add app password", { icon: "plus", onclick: async () => (await addOne(account, path)) && load() });
  load();
  return card("App passwords", content, { actions: can(SCOPE) && add });
}

function about(one, path, load) {
  const notes = [
    one.networks && `from ${one.networks.join(", ")}`,
    one.expires_at && ["ends ", moment(one.expires_at)],
    one.last_used_at ? [`last used for ${PROTOCOLS[one.last_used_protocol]} `, moment(one.last_used_at)] : "never used",
  ].filter(Boolean);
  return h(
    "span",
    { class: "with-action" },
    h("span", null, one.scopes.map((scope) => h("span", { class: "tag" }, PROTOCOLS[scope])), notes.map((note) => h("span", { class: "faint" }, " · ", note))),
    can(SCOPE) && iconButton("cross", `Delete ${one.name}`, async () => (await deleteOne(one, path)) && load()),
  );
}

async function addOne(account, path) {
  return dialog("Add app password", (close, element) =>
    form(
      [
        field("Name", input("name", { autofocus: true, required: true, placeholder: "Ann's phone", spellcheck: "true" }), { hint: "The program or device that it is for." }),
        h("fieldset", { class: "field", dataset: { field: "scopes" } },
          h("legend", null, "It may be used for"),
          h("div", { class: "checks" }, Object.entries(PROTOCOLS).map(([scope, words]) => h("label", { class: "check" }, h("input", { type: "checkbox", name: "scope", value: scope, checked: scope !== "sieve" }), words))),
          h("p", { class: "error" })),
      ],
      { verb: "Add app password", close },
      async (values) => {
        const scopes = [...element.querySelectorAll("[name=scope]:checked")].map((box) => box.value);
        if (!scopes.length) throw { status: 400, message: "", fields: [{ field: "scopes", message: "Choose at least one." }] };
        const made = await post(`${path}/create`, { name: values.name.trim(), scopes });
        fill(element.querySelector("h2"), "App password added");
        element.querySelector("form").replaceWith(passwordPanel(account, made, { label: "App password", close }));
      },
    ),
  );
}

async function deleteOne(one, path) {
  const text = "It logs nobody in from this moment, and its open sessions end. Other passwords stay as they are.";
  const done = await confirm(`Delete ${one.name}?`, text, "Delete", () => post(`${path}/delete`, { id: one.id }));
  if (!done) return false;
  toast(done.deleted.sessions_ended ? `${one.name} is deleted` : "Dovecot does not answer now. The sessions end as soon as it does.");
  return true;
}
