// A table that is paged by the API's cursors: every page costs the same, however deep, and the
// previous pages are remembered.

import { call } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { failure, loading } from "./widgets.js";

// Items of a page of the API that are not shown are made up for by other pages: until so many items
// are there, or so many pages were asked for.
const ENOUGH = 50;
const MOST_PAGES = 10;

/**
 * `path()` gives the path of the first page; `keep(item, path)` says which items of
 * that page of the API are shown, if not all; `then(path)` is the path after a last page, if any; `head` lists the titles of the columns; `row(item)`
 * gives a <tr>; `none()` gives the content of an empty table. Returns { element, show, restart,
 * reload }.
 */
export function pagedTable({ label, path, head, row, none, keep, then }) {
  const body = h("div", { class: "table-body" });
  const pager = h("nav", { class: "pager", "aria-label": `Pages of ${label}` });
  const element = h("div", { class: "card flush" }, body, pager);
  let trail = history.state?.trail || [];
  let asked = 0;
  let controller = new AbortController();

  async function show(quiet) {
    const turn = (asked += 1);
    controller.abort();
    controller = new AbortController();
    body.setAttribute("aria-busy", "true");
    if (!quiet) fill(body, loading(8));
    try {
      const { items, next, isPicked } = await kept(trail.at(-1) || path(), controller.signal);
      if (turn !== asked) return;
      history.replaceState({ ...history.state, trail }, "");
      fill(body, items.length ? table(items) : none(next));
      fill(pager, steps(next, items.length, isPicked));
    } catch (problem) {
      if (turn !== asked || problem.name === "AbortError" || problem.status === 401) return;
      fill(body, failure(problem, () => show()));
      fill(pager);
    } finally {
      if (turn === asked) body.removeAttribute("aria-busy");
    }
  }

  /** A page of the items that are kept, from as many pages of the API as that needs, up to a bound. */
  async function kept(start, signal) {
    const items = [];
    let [next, read] = [start, 0];
    for (let pages = 0; next && pages < MOST_PAGES && items.length < ENOUGH; pages += 1) {
      const from = next;
      const { data, next: following } = await call("GET", from, { signal });
      read += data.items.length;
      items.push(...(keep ? data.items.filter((item) => keep(item, from)) : data.items));
      next = following || then?.(from) || null;
      if (!keep) break;
    }
    return { items, next, isPicked: items.length < read };
  }

  // In a narrow place the rows are cards. The roles stay a table's, whatever the styles make of it.
  function table(items) {
    return h(
      "table",
      { role: "table", "aria-label": label },
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head.map((text) => h("th", { role: "columnheader", scope: "col" }, text || h("span", { class: "offscreen" }, "Actions"))))),
      h("tbody", { role: "rowgroup" }, items.map((item) => labelled(row(item)))),
    );
  }

  /** A row whose cells carry the titles of their columns, for the cards. */
  function labelled(line) {
    line.setAttribute("role", "row");
    [...line.cells].forEach((cell, place) => {
      cell.setAttribute("role", "cell");
      cell.dataset.label = head[place];
      cell.classList.toggle("blank", !cell.textContent && !cell.querySelector("button"));
      fill(cell, h("div", { class: "cell" }, [...cell.childNodes]));
    });
    return line;
  }

  function steps(next, count, isPicked) {
    if (!next && !trail.length) return [];
    const go = (change) => () => {
      trail = change;
      show(true).then(() => element.scrollIntoView({ block: "start" }));
    };
    return [
      h("span", { class: "faint" }, `Page ${trail.length + 1}`, count ? `, ${count} shown` : "", isPicked && next && ". Next searches on"),
      h("button", { type: "button", class: "button", disabled: !trail.length, onclick: go(trail.slice(0, -1)) }, icon("left"), h("span", null, "Previous")),
      h("button", { type: "button", class: "button", disabled: !next, onclick: go([...trail, next]) }, h("span", null, "Next"), icon("right")),
    ];
  }

  return {
    element,
    show,
    /** Starts again from the first page, for other filters. */
    restart() {
      trail = [];
      return show(true);
    },
    reload: () => show(true),
  };
}

/** A function that runs `act` when it has not been called for `milliseconds`. */
export function debounced(act, milliseconds = 180) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...values), milliseconds);
  };
}

/**
 * The filters of a page, kept in its address so that the page can be reloaded, shared and reached
 * with the Back button.
 */
export function filtersInAddress(names) {
  const query = new URLSearchParams(location.search);
  const values = Object.fromEntries(names.map((name) => [name, query.get(name) || ""]));
  return {
    values,
    set(name, value) {
      values[name] = value;
      const kept = new URLSearchParams(Object.entries(values).filter(([, text]) => text));
      history.replaceState({}, "", kept.size ? `${location.pathname}?${kept}` : location.pathname);
    },
  };
}
