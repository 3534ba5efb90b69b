// The audit log, newest first.

import { withQuery } from "../api.js";
import { fill, h, network } from "../dom.js";
import { TYPES, by, detail, subject, words } from "../event_words.js";
import { debounced, filtersInAddress, pagedTable } from "../lists.js";
import { empty, input, moment, pageHead, select } from "../widgets.js";

export async function page(main) {
  const filters = filtersInAddress(["type", "user_id", "domain", "account_id"]);
  const list = pagedTable({
    label: "Events",
    path: () => withQuery("/v2/events", { order: "newest", ...filters.values, limit: 50 }),
    head: ["What", "To what", "User", "By", "From", "When"],
    row,
    none: () => empty("events", "No events", "Nothing has happened that fits these filters."),
  });
  const filter = (name, label, props) => {
    const control = input(name, { value: filters.values[name], placeholder: label, "aria-label": label, type: "search", ...props });
    control.addEventListener("input", debounced(() => (filters.set(name, control.value.trim()), list.restart())));
    return control;
  };
  fill(
    main,
    pageHead("Events", { lead: "Every change, who made it and from where. Each event is written in the transaction of its change." }),
    h("div", { class: "filters", role: "search" }, select("type", [["", "Every type"], ...TYPES], filters.values.type, { "aria-label": "Type", onchange: (event) => (filters.set("type", event.target.value), list.restart()) }), filter("user_id", "User"), filter("domain", "Domain"), filter("account_id", "Account id", { inputmode: "numeric" })),
    list.element,
  );
  await list.show();
}

function row(event) {
  return h(
    "tr",
    null,
    h("td", null, words(event)),
    h("td", { class: "grow" }, subject(event), detail(event) && h("div", { class: "faint" }, detail(event))),
    h("td", { class: "clip" }, event.user_id),
    h("td", { class: "faint by", title: event.request_id ? `request ${event.request_id}` : null }, by(event)),
    h("td", { class: "faint mono" }, network(event.client_address)),
    h("td", { class: "nowrap" }, moment(event.created_at)),
  );
}
