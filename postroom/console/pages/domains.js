// The list of domains with their status, and adding a domain.

import { can } from "../api.js";
import { fill, h } from "../dom.js";
import { addDomain, domainsPath, pathOf } from "../domain_actions.js";
import { unicodeOf } from "../idn.js";
import { filtersInAddress, pagedTable } from "../lists.js";
import { button, empty, moment, pageHead, select, status } from "../widgets.js";

const STATUSES = [["", "Every status"], ["pending", "Pending"], ["active", "Active"], ["suspended", "Suspended"]];

export async function page(main, { go }) {
  const filters = filtersInAddress(["status"]);
  const list = pagedTable({
    label: "Domains",
    path: () => domainsPath({ limit: 50, ...filters.values }),
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

function row(domain) {
  return h(
    "tr",
    null,
    h("td", { class: "grow" }, h("a", { class: "strong", href: pathOf(domain) }, unicodeOf(domain.domain) || domain.domain), unicodeOf(domain.domain) && h("div", { class: "faint mono" }, domain.domain)),
    h("td", { class: "clip" }, domain.user_id || h("span", { class: "faint" }, "platform")),
    h("td", null, status(domain.status), domain.degraded_at && h("span", { class: "tag warn", title: domain.degraded_reason }, "DNS fails")),
    h("td", { class: "nowrap" }, moment(domain.created_at)),
  );
}
