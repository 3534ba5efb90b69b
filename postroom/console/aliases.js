// Further addresses: the aliases on an account's page, its new address, and the catch-all on a
// domain's page.

import { can, get, post, put, withQuery } from "./api.js";
import { address, h } from "./dom.js";
import { number, plural } from "./format.js";
import { button, card, confirm, dialog, empty, facts, field, form, iconButton, input, moment, region, toast } from "./widgets.js";

const KINDS = { alias: "alias", group: "group", catch_all: "catch-all", former: "former address" };
// The most that are listed here; the limit of an account is 50 where nobody sets another.
const SHOWN = 200;

/** The card with an account's aliases. */
export function aliasesCard(account, { signal }) {
  const content = h("div", { class: "brief broad" });
  const load = () => region(content, async () => {
    const found = (await get(withQuery("/v2/email-aliases", { account_id: account.id, limit: SHOWN }), { signal })).items;
    if (!found.length) return empty("accounts", "No other address", "An alias is a further address: its mail arrives here.");
    return facts(found.map((alias) => [shown(alias), about(alias, load)]));
  }, { rows: 2 });
  const add = button("Add alias", { icon: "plus", onclick: async () => (await addAlias(account)) && load() });
  load();
  return card("Other addresses", content, { actions: can("accounts:write") && add });
}

const shown = (alias) => address(alias.kind === "catch_all" ? `*@${alias.domain}` : alias.address);

function about(alias, load) {
  const others = alias.account_ids.length - 1;
  const notes = [
    others > 0 && `with ${plural(others, "other account")}`,
    !alias.may_send && alias.kind !== "catch_all" && "receives only",
    alias.expires_at && ["ends ", moment(alias.expires_at)],
  ].filter(Boolean);
  return h(
    "span",
    { class: "with-action" },
    h("span", null, h("span", { class: "tag" }, KINDS[alias.kind]), notes.map((note) => h("span", { class: "faint" }, " · ", note))),
    can("accounts:write") && iconButton("cross", `Delete ${alias.address}`, async () => (await deleteAlias(alias)) && load()),
  );
}

async function addAlias(account) {
  const made = await dialog("Add alias", (close) =>
    form(
      [
        h("div", { class: "address-pair" },
          field("Name before the @", input("local_part", { autofocus: true, required: true, placeholder: "sales", class: "grow" })),
          h("span", { class: "at", "aria-hidden": "true" }, "@"),
          field("Domain", input("domain", { required: true, value: account.domain }))),
        h("label", { class: "check" }, h("input", { type: "checkbox", name: "may_send", checked: true }), `${account.address} may also send as this address`),
      ],
      { verb: "Add alias", close },
      async (values) => {
        const body = { domain: values.domain.trim(), local_part: values.local_part.trim(), user_id: account.user_id, account_ids: [account.id], may_send: Boolean(values.may_send) };
        if (body.local_part === "*") delete body.may_send;
        close((await post("/v2/email-aliases/create", body)).alias);
      },
    ),
  );
  if (made) toast(`Mail to ${made.address} arrives at ${account.address}`);
  return made;
}

async function deleteAlias(alias) {
  const text = { former: "It receives no mail and logs nobody in from this moment.", catch_all: "Mail to unknown addresses is refused from this moment." };
  const others = alias.account_ids.length > 1 ? `All ${number(alias.account_ids.length)} accounts of the group lose it.` : "";
  const lead = [text[alias.kind] || "It receives no mail from this moment, and another account can take it.", others].join(" ");
  const done = await confirm(`Delete ${alias.address}?`, lead, "Delete", () => post("/v2/email-aliases/delete", { id: alias.id }));
  if (done) toast(`${alias.address} is deleted`);
  return Boolean(done);
}

/** Gives an account another address. Returns whether it has one now. */
export async function rename(account) {
  const made = await dialog("Change the address", (close, element) =>
    form(
      [
        h("p", { class: "lead" }, "Password, mail and open sessions stay as they are."),
        h("div", { class: "address-pair" },
          field("Name before the @", input("local_part", { autofocus: true, required: true, value: account.local_part, class: "grow" })),
          h("span", { class: "at", "aria-hidden": "true" }, "@"),
          field("Domain", input("domain", { required: true, value: account.domain }))),
        h("label", { class: "check" }, h("input", { type: "checkbox", name: "keep_former", checked: true }), `Keep ${account.address}: it still receives, logs in and sends`),
      ],
      { verb: "Change the address", close },
      async (values) => {
        const kept = element.querySelector("[name=keep_former]").checked;
        const body = { local_part: values.local_part.trim(), domain: values.domain.trim(), keep_former: kept };
        close((await put(`/v2/email-accounts/${account.id}`, body)).account);
      },
    ),
  );
  if (made) toast(`The address is ${made.address} now`);
  return Boolean(made);
}

/** The card with a domain's catch-all. */
export function catchAllCard(domain, { user, signal }) {
  const content = h("div", { class: "brief" });
  const load = () => region(content, async () => {
    const query = { domain: domain.domain, kind: "catch_all", user_id: domain.user_id };
    const [found] = (await get(withQuery("/v2/email-aliases", query), { signal })).items;
    const write = can("accounts:write") && domain.status === "active";
    if (!found) {
      const set = write && button("Set a catch-all", { onclick: async () => (await setCatchAll(domain, user)) && load() });
      return empty("accounts", "Unknown addresses are refused", "A catch-all takes the mail to every address of the domain that nobody has.", set);
    }
    const names = await Promise.all(found.account_ids.map((id) => get(`/v2/email-accounts/${id}`, { signal })));
    const accounts = names.map(({ account }) => h("a", { href: `/accounts/${account.id}` }, address(account.address)));
    const drop = write && button("Delete", { kind: "danger-outline", onclick: async () => (await deleteAlias(found)) && load() });
    return facts([["Unknown addresses", h("span", { class: "with-action" }, accounts, drop)]]);
  }, { rows: 1 });
  load();
  return card("Catch-all", content);
}

async function setCatchAll(domain, user) {
  const made = await dialog("Set a catch-all", (close) =>
    form(
      [field("Account", input("account", { autofocus: true, required: true, placeholder: `info@${domain.domain}`, inputmode: "email" }), { hint: "The address of the account that gets the mail.", name: "account_ids" })],
      { verb: "Set a catch-all", close },
      async (values) => {
        const wanted = values.account.trim().toLowerCase();
        const { items } = await get(withQuery("/v2/email-accounts", { q: wanted, user_id: domain.user_id, fields: "*", limit: 1 }));
        const [target] = items.filter((item) => item.address === wanted);
        if (!target) throw { status: 400, message: "", fields: [{ field: "account_ids", message: "There is no such account of this user." }] };
        const body = { domain: domain.domain, local_part: "*", user_id: domain.user_id || target.user_id || user, account_ids: [target.id] };
        close((await post("/v2/email-aliases/create", body)).alias);
      },
    ),
  );
  if (made) toast(`Mail to unknown addresses of ${domain.domain} arrives now`);
  return Boolean(made);
}
