// App passwords, on an account's page and on the owner's own.

import { can, get, post } from "./api.js";
import { fill, h } from "./dom.js";
import { passwordPanel } from "./secret.js";
import { button, card, confirm, dialog, empty, facts, field, form, iconButton, input, moment, region, select, toast } from "./widgets.js";

export const PROTOCOLS = { imap: "IMAP", pop3: "POP3", smtp: "Sending", sieve: "Sieve" };
const SCOPE = "credentials:write";
const OWN = "Add one for each phone or computer. If it is lost, you delete its password, and the others go on.";
/** How long an app password may live: hours and words. */
const LIVES = [["", "Never"], ["1", "In an hour"], ["24", "In a day"], ["720", "In 30 days"], ["8760", "In a year"]];

/** The card with an account's app passwords; `own` on the page of its owner. */
export function appPasswordsCard(account, { signal, own = false }) {
  const path = own ? "/v2/me/app-passwords" : `/v2/email-accounts/${account.id}/app-passwords`;
  const may = own || can(SCOPE);
  const content = h("div", { class: "brief" });
  const load = () => region(content, async () => {
    const found = (await get(path, { signal })).app_passwords;
    const hint = may ? "" : ` A key with the scope ${SCOPE} can add one.`;
    if (!found.length) return empty("keys", "No app password", own ? OWN : `An app password is for one program or device, and can be deleted alone.${hint}`);
    return facts(found.map((one) => [one.name, about(one, path, may, load)]));
  }, { rows: 2 });
  const add = button(own ? "Add" : "Add app password", { icon: "plus", "aria-label": "Add app password", onclick: async () => (await addOne(account, path, own)) && load() });
  load();
  return card("App passwords", content, { actions: may && add });
}

function about(one, path, may, load) {
  const notes = [
    one.networks && `from ${one.networks.join(", ")}`,
    one.expires_at && ["ends ", moment(one.expires_at)],
    one.last_used_at ? [`last used for ${PROTOCOLS[one.last_used_protocol]} `, moment(one.last_used_at)] : "never used",
  ].filter(Boolean);
  return h(
    "span",
    { class: "with-action" },
    h("span", null, one.scopes.map((scope) => h("span", { class: "tag" }, PROTOCOLS[scope])), notes.map((note) => h("span", { class: "faint" }, " · ", note))),
    may && iconButton("cross", `Delete ${one.name}`, async () => (await deleteOne(one, path)) && load()),
  );
}

async function addOne(account, path, own) {
  return dialog("Add app password", (close, element) =>
    form(
      [
        field("Name", input("name", { autofocus: true, required: true, placeholder: own ? "My phone" : "Ann's phone", spellcheck: "true" }), { hint: "The program or device that it is for." }),
        h("fieldset", { class: "field", dataset: { field: "scopes" } },
          h("legend", null, "It may be used for"),
          h("div", { class: "checks" }, Object.entries(PROTOCOLS).map(([scope, words]) => h("label", { class: "check" }, h("input", { type: "checkbox", name: "scope", value: scope, checked: scope !== "sieve" }), words))),
          h("p", { class: "error" })),
        field("Expires", select("life", LIVES, ""), { name: "expires_at" }),
        field("Only from networks", input("networks", { placeholder: "anywhere" }), { hint: "Addresses or CIDR, separated by spaces." }),
      ],
      { verb: "Add app password", close },
      async (values) => {
        const scopes = [...element.querySelectorAll("[name=scope]:checked")].map((box) => box.value);
        if (!scopes.length) throw { status: 400, message: "", fields: [{ field: "scopes", message: "Choose at least one." }] };
        const body = { name: values.name.trim(), scopes };
        const networks = values.networks.split(/[\s,]+/).filter(Boolean);
        if (networks.length) body.networks = networks;
        if (values.life) body.expires_at = new Date(Date.now() + Number(values.life) * 3_600_000).toISOString();
        const made = await post(own ? path : `${path}/create`, body);
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
