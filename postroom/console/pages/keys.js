// API keys: what each key may do, making a key, which is shown once, and revoking.

import { can, current, post, withQuery } from "../api.js";
import { fill, h } from "../dom.js";
import { date, plural } from "../format.js";
import { pagedTable } from "../lists.js";
import { button, dialog, empty, field, form, input, moment, pageHead, select, toast } from "../widgets.js";
import { secretPanel } from "../secret.js";

export async function page(main, { go }) {
  const list = pagedTable({
    label: "Keys",
    path: () => withQuery("/v2/keys", { limit: 50 }),
    head: ["Key", "May", "Only for", "Created", "Last used", "Expires", ""],
    row: (key) => row(key, list, go),
    none: () => empty("keys", "No keys", "No key is as narrow as yours."),
  });
  fill(
    main,
    pageHead("Keys", {
      lead: "A key can make keys as wide as itself or narrower. Revoking a key also revokes all keys that it has made, and ends their sessions.",
      actions: can("keys:write") && button("Create key", { icon: "plus", kind: "primary", onclick: () => create(list) }),
    }),
    list.element,
  );
  await list.show();
}

function row(key, list, go) {
  const own = current().key;
  const all = key.scopes.length >= own.scopes.length && own.scopes.every((scope) => key.scopes.includes(scope));
  const bounds = [key.user_id && `user ${key.user_id}`, ...(key.domains || []), ...(key.networks || [])].filter(Boolean);
  return h(
    "tr",
    null,
    h("td", { class: "wrap" }, h("strong", null, key.name || "Without a name"), h("div", { class: "faint mono" }, `${key.prefix}…`, key.id === own.id && h("span", { class: "tag" }, "yours"))),
    h("td", { class: "may" }, scopesOf(key, all)),
    h("td", { class: "clip" }, bounds.length ? bounds.join(", ") : h("span", { class: "faint" }, "not bound")),
    h("td", { class: "nowrap" }, moment(key.created_at, date)),
    h("td", { class: "nowrap" }, moment(key.last_used_at)),
    h("td", { class: "nowrap" }, moment(key.expires_at, date)),
    h("td", { class: "end" }, can("keys:write") && button("Revoke", { kind: "plain danger-text", "aria-label": `Revoke ${key.name || key.prefix}`, onclick: () => revoke(key, list, go) })),
  );
}

/** How much a key may do, and folded below that its scopes. */
function scopesOf(key, all) {
  const words = all ? "all that you may" : plural(key.scopes.length, "scope");
  if (!key.scopes.length) return words;
  return h(
    "details",
    null,
    h("summary", null, words),
    h("div", { class: "tags" }, key.scopes.map((scope) => h("span", { class: "tag" }, scope))),
  );
}

async function revoke(key, list, go) {
  const isOwn = key.id === current().key.id;
  const text = isOwn
    ? "This is the key that you are signed in with: you are signed out, and every key that it has made ends too."
    : "It is refused from this moment, and so is every key that it has made.";
  const done = await dialog(`Revoke ${key.name || `${key.prefix}…`}?`, (close) =>
    form(
      [
        h("p", { class: "lead" }, text),
        h("label", { class: "check" }, h("input", { type: "checkbox", name: "keep" }), "Leave the webhooks of these keys active"),
      ],
      { verb: "Revoke", kind: "danger", close },
      async ({ keep }) => close(await post("/v2/keys/delete", { id: key.id, keep_webhooks: Boolean(keep) })),
    ),
  );
  if (!done) return;
  if (isOwn) return go("/sign-in");
  toast("Key revoked");
  await list.reload();
}

// Usual sets of scopes, each cut to what one's own key has: [name, words, the scopes that belong].
const PRESETS = [
  ["all", "Everything that you may", () => true],
  ["read", "Read everything, change nothing", (scope) => scope.endsWith(":read")],
  ["accounts", "Create and manage accounts", (scope) => /^(accounts|stats):|^domains:read$/.test(scope)],
  ["domains", "Set up domains", (scope) => scope.startsWith("domains:")],
  ["monitoring", "Reports and monitoring", (scope) => /^(stats|events):read$/.test(scope)],
];

async function create(list) {
  const own = current().key;
  const scopes = h(
    "fieldset",
    { class: "field", dataset: { field: "scopes" } },
    h("legend", null, "It may"),
    h("div", { class: "checks" }, own.scopes.map((scope) => h("label", { class: "check" }, h("input", { type: "checkbox", name: "scope", value: scope, checked: true }), h("code", null, scope)))),
    h("p", { class: "error" }),
  );
  const boxes = [...scopes.querySelectorAll("input")];
  const chosen = () => boxes.filter((box) => box.checked).map((box) => box.value);
  const presets = PRESETS.map(([name, text, fits]) => [name, text, own.scopes.filter(fits)]).filter(([, , wanted]) => wanted.length);
  const same = ([, , wanted]) => wanted.join() === chosen().join();
  const preset = select("preset", [...presets.map(([name, text]) => [name, text]), ["own", "My own choice"]], "all", {
    onchange: () => {
      const wanted = presets.find(([name]) => name === preset.value)?.[2];
      for (const box of boxes) box.checked = wanted ? wanted.includes(box.value) : box.checked;
    },
  });
  scopes.addEventListener("change", () => (preset.value = presets.find(same)?.[0] || "own"));
  const life = select("life", [["", "Never"], ["1", "In a day"], ["30", "In 30 days"], ["90", "In 90 days"], ["365", "In a year"]], "");
  await dialog("Create key", (close, element) =>
    form(
      [
        field("Name", input("name", { autofocus: true, maxlength: "255", placeholder: "Billing service" }), { hint: "Your name for the key." }),
        h("div", { class: "pair" },
          field("Only for user", input("user_id", { placeholder: own.user_id || "any user", value: own.user_id || "", readonly: Boolean(own.user_id) })),
          field("Expires", life, { name: "expires_at" })),
        field("Only for domains", input("domains", { placeholder: "any domain" }), { hint: "Separated by spaces. The key then sees no other domain." }),
        field("Only from networks", input("networks", { placeholder: "anywhere" }), { hint: "Addresses or CIDR, separated by spaces." }),
        field("What it is for", preset),
        scopes,
      ],
      { verb: "Create key", close },
      async (values) => {
        const checked = chosen();
        if (!checked.length) throw { status: 400, message: "Choose at least one.", fields: [{ field: "scopes", message: "Choose at least one." }] };
        const made = await post("/v2/keys", bodyOf(values, checked));
        fill(element.querySelector("h2"), "Key created");
        element.querySelector("form").replaceWith(secretPanel({ label: "API key", secret: made.api_key, note: made.note, close }));
        await list.restart();
      },
    ),
  );
}

function bodyOf(values, scopes) {
  const body = { scopes };
  const words = (text) => text.split(/[\s,]+/).filter(Boolean);
  if (values.name.trim()) body.name = values.name.trim();
  if (values.user_id) body.user_id = values.user_id;
  if (words(values.domains).length) body.domains = words(values.domains);
  if (words(values.networks).length) body.networks = words(values.networks);
  if (values.life) body.expires_at = new Date(Date.now() + Number(values.life) * 86_400_000).toISOString();
  return body;
}
