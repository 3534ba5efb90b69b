// Adding a domain, and what is known of the domains before an account is made.

import { call, can, current, get, post, withQuery } from "./api.js";
import { h } from "./dom.js";
import { unicodeOf } from "./idn.js";
import { button, dialog, field, form, input } from "./widgets.js";

/**
 * The path of the page of a domain, or of an account's domain. It includes the user, because several
 * users may claim one domain.
 */
export function pathOf(domain) {
  return withQuery(`/domains/${encodeURIComponent(domain.domain)}`, { user_id: domain.user_id });
}

/** The path of a list of domains: those of every user that this key sees. */
export function domainsPath(values) {
  const whose = current().key.user_id ? {} : { every_user: "true" };
  return withQuery("/v2/domains", { fields: "*", ...whose, ...values });
}

// How far a domain is looked for by its name alone: in this many domains, by pages of this size.
export const MOST_LOOKED_AT = 5000;
const PAGE = 500;

/**
 * The domains of this name that this key sees, of any user: { claims, isCut }. `isCut` says that
 * there are more domains than were looked at.
 */
export async function domainsNamed(name, signal) {
  const wanted = name.toLowerCase();
  const claims = [];
  let path = domainsPath({ fields: "domain,user_id,status", limit: PAGE });
  for (let looked = 0; path && looked < MOST_LOOKED_AT; looked += PAGE) {
    const { data, next } = await call("GET", path, { signal });
    claims.push(...data.items.filter((item) => item.domain === wanted || unicodeOf(item.domain) === wanted));
    path = next;
  }
  return { claims, isCut: Boolean(path) };
}

/**
 * The domains that accounts can be made on, and two of any status: { active, all }, or null if this
 * key may not see domains.
 */
export async function usableDomains(signal) {
  if (!can("domains:read")) return null;
  const asked = [{ status: "active", limit: 200 }, { limit: 2 }].map((values) => get(domainsPath(values), { signal }));
  const [active, all] = await Promise.all(asked);
  return { active: active.items, all: all.items };
}

export const hasNone = (found) => Boolean(found) && !found.active.length;

/** What leads to the first domain, as [title, text, button] of an empty state. */
export function firstDomain({ all }, go) {
  const [one, more] = all;
  if (one) {
    const open = button(more ? "To the domains" : "Open the domain", { kind: "primary", onclick: () => go(more ? "/domains" : pathOf(one)) });
    return ["No domain is active yet", `Accounts are made on an active domain. ${one.domain} ${one.status === "pending" ? "waits for its DNS records" : `is ${one.status}`}.`, open];
  }
  const text = "Every address needs a domain. Add one, publish the records that are shown, and its accounts can be made.";
  return ["First, a domain", text, can("domains:write") && button("Add domain", { icon: "plus", kind: "primary", onclick: () => addDomain(go) })];
}

/** The same as a dialog, in place of a form that could only fail. */
export function leadToDomain(found, go) {
  const [title, text, next] = firstDomain(found, go);
  return dialog(title, (close) => {
    next?.addEventListener("click", () => close(), { capture: true });
    return h("div", { class: "form" }, h("p", { class: "lead" }, text), h("div", { class: "buttons" }, button("Cancel", { onclick: () => close() }), next));
  });
}

export async function addDomain(go) {
  const own = current().key.user_id;
  const made = await dialog("Add domain", (close) =>
    form(
      [
        field("Domain", input("domain", { autofocus: true, placeholder: "customer.com", inputmode: "url" })),
        field("User", input("user_id", { value: own || "", readonly: Boolean(own), placeholder: "user_123" }), { hint: "Your platform's id of the customer who owns it." }),
      ],
      { verb: "Add domain", close },
      async (values) => {
        const body = { domain: values.domain.trim(), user_id: values.user_id };
        const { domain } = (await post("/v2/domain", body)).domain;
        close({ domain: domain.domain, user_id: body.user_id });
      },
    ),
  );
  if (made) go(pathOf(made));
}
