// The list of accounts: search while typing, filters, pages, and making an account.

import { can, current, withQuery } from "../api.js";
import { changeStatus, createAccount, deleteAccount, resetPassword, restoreAccount } from "../account_actions.js";
import { address, fill, h, icon } from "../dom.js";
import { firstDomain, hasNone, usableDomains } from "../domain_actions.js";
import { debounced, filtersInAddress, pagedTable } from "../lists.js";
import { menu } from "../menu.js";
import { button, empty, input, moment, pageHead, region, select, status } from "../widgets.js";

const STATUSES = [["", "Every status"], ["active", "Active"], ["suspended", "Suspended"], ["disabled", "Disabled"], ["deleted", "Deleted"]];

export async function page(main, { go }) {
  const filters = filtersInAddress(["q", "domain", "user_id", "status"]);
  const path = (more) => withQuery("/v2/email-accounts", { fields: "*", order: "newest", ...filters.values, ...asked(filters.values), ...more });
  const add = () => createAccount({ go, domain: filters.values.domain, user: filters.values.user_id, created: () => list.restart() });
  const list = pagedTable({
    label: "Accounts",
    path: () => path({ limit: 50 }),
    // The API finds the start of an address, by an index. The middle of an address and the display
    // name are looked for here, among the newest accounts (decision 0221).
    keep: (account, from) => !filters.values.q || isByIndex(from) || isInside(account, filters.values.q),
    then: (from) => isByIndex(from) && path({ limit: 500, q: "" }),
    head: ["Address", "User", "Status", "Created", ""],
    row: (account) => row(account, list),
    none: (next) => nothing(filters.values, add, go, next),
  });
  const later = debounced(() => list.restart());
  const text = (name, label, props) =>
    input(name, { value: filters.values[name], placeholder: label, "aria-label": label, type: "search", oninput: (event) => (filters.set(name, event.target.value.trim()), later()), ...props });
  fill(
    main,
    pageHead("Accounts", { actions: can("accounts:write") && button("Create account", { icon: "plus", kind: "primary", onclick: add }) }),
    h(
      "div",
      { class: "filters", role: "search" },
      h("div", { class: "search" }, icon("search"), text("q", "Search addresses and names")),
      text("domain", "Domain"),
      !current().key.user_id && text("user_id", "User"),
      select("status", STATUSES, filters.values.status, { "aria-label": "Status", onchange: (event) => (filters.set("status", event.target.value), list.restart()) }),
    ),
    list.element,
  );
  await list.show();
}

/** Whether a page is of addresses that start with the search. */
const isByIndex = (path) => new URLSearchParams(path.split("?")[1]).has("q");

/** Text without case and accents. */
const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

/** Whether a search is in the middle of an address, or in the display name. */
function isInside({ address: text, display_name: name }, wanted) {
  const word = plain(wanted);
  return !text.startsWith(wanted.toLowerCase()) && (text.includes(word) || plain(name || "").includes(word));
}

/**
 * The query for deleted accounts. Deleted is not a status in the API, but the page offers it in the
 * list of statuses.
 */
function asked({ status }) {
  return status === "deleted" ? { status: "", deleted: "true" } : {};
}

function nothing(values, add, go, next) {
  if (values.status === "deleted") return empty("search", "Nothing to restore", "Deleted accounts are here until their mail is erased.");
  const further = next ? "None of the accounts that were read fits. Next searches older ones." : "Try a part of the address or of the name, or fewer filters.";
  if (Object.values(values).some(Boolean)) return empty("search", "No account fits", further);
  const place = h("div");
  region(place, async () => {
    const found = can("accounts:write") ? await usableDomains() : null;
    if (hasNone(found)) return empty("domains", ...firstDomain(found, go));
    return empty("accounts", "No accounts yet", "An account is a real mailbox: it receives, sends and can be read the moment it is made.", can("accounts:write") && button("Create account", { icon: "plus", kind: "primary", onclick: add }));
  }, { rows: 2 });
  return place;
}

function row(account, list) {
  return h(
    "tr",
    null,
    h("td", { class: "grow" }, account.deleted_at ? h("span", { class: "strong" }, address(account.address)) : h("a", { class: "strong", href: `/accounts/${account.id}` }, address(account.address)), account.display_name && h("div", { class: "faint" }, account.display_name)),
    h("td", { class: "clip" }, account.user_id, account.is_default && h("span", { class: "tag", title: "This user's default account" }, "default")),
    h("td", null, account.deleted_at ? h("span", { class: "faint nowrap" }, "erased ", moment(account.purge_at)) : status(account.status)),
    h("td", { class: "nowrap" }, moment(account.created_at)),
    h("td", { class: "end" }, can("accounts:write") && menu(`Actions for ${account.address}`, actions(account, list))),
  );
}

function actions(account, list) {
  if (account.deleted_at) return [["Restore", async () => (await restoreAccount(account)) && list.reload()]];
  const change = (to) => async () => (await changeStatus(account, to)) && list.reload();
  return [
    ["Reset password", () => resetPassword(account)],
    account.status !== "active" && ["Resume", change("active")],
    account.status === "active" && ["Suspend", change("suspended")],
    account.status !== "disabled" && ["Disable", change("disabled")],
    ["Delete", async () => (await deleteAccount(account, list.reload)) && list.reload(), "danger-text"],
  ].filter(Boolean);
}
