// Domains: which there are, their status, and adding one.

import { can, current, post, withQuery } from "../api.js";
import { fill, h } from "../dom.js";
import { filtersInAddress, pagedTable } from "../lists.js";
import { button, dialog, empty, field, form, input, moment, pageHead, select, status } from "../widgets.js";

const STATUSES = [["", "Every status"], ["pending", "Pending"], ["active", "Active"], ["suspended", "Suspended"]];

export async function page(main, { go }) {
  const filters = filtersInAddress(["status"]);
  const whose = current().key.user_id ? {} : { every_user: "true" };
  const list = pagedTable({
    label: "Domains",
    path: () => withQuery("/v2/domains", { fields: "*", limit: 50, ...whose, ...filters.values }),
    head: ["Domain", "User", "Status", "Added"],
    row,
    none: () => empty("domains", filters.values.status ? "No domain has this status" : "No domains yet", "Add a domain, publish the records that are shown, and its accounts can be made.", can("domains:write") && button("Add domain", { icon: "plus", kind: "primary", onclick: () => addDomain(go) })),
  });
  fill(
    main,
    pageHead("Domains", {
      lead: "Accounts are on domains. A customer's domain becomes active by its DNS; a platform domain belongs to the operator and serves every user.",
      actions: can("domains:write") && button("Add domain", { icon: "plus", kind: "primary", onclick: () => addDomain(go) }),
    }),
    h("div", { class: "filters" }, select("status", STATUSES, filters.values.status, { "aria-label": "Status", onchange: (event) => (filters.set("status", event.target.value), list.restart()) })),
    list.element,
  );
  await list.show();
}

/** The page of a domain: its user goes along, because a domain may be claimed by several. */
export function pathOf(domain) {
  return withQuery(`/domains/${encodeURIComponent(domain.domain)}`, { user_id: domain.user_id });
}

function row(domain) {
  return h(
    "tr",
    null,
    h("td", { class: "grow" }, h("a", { class: "strong clip", href: pathOf(domain) }, domain.domain)),
    h("td", { class: "clip" }, domain.user_id || h("span", { class: "faint" }, "platform")),
    h("td", null, status(domain.status), domain.degraded_at && h("span", { class: "tag warn", title: domain.degraded_reason }, "DNS fails")),
    h("td", { class: "nowrap" }, moment(domain.created_at)),
  );
}

async function addDomain(go) {
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
        await post("/v2/domain", body);
        close(body);
      },
    ),
  );
  if (made) go(pathOf(made));
}
