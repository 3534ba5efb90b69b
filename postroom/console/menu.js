// A small menu at a button: arrow keys move, Escape or a click elsewhere closes the menu.

import { h, icon, newId } from "./dom.js";

/** `items` are [text, act, class]. */
export function menu(label, items) {
  const id = newId("menu");
  const list = h("div", { class: "menu", role: "menu", id, popover: "auto", "aria-label": label });
  const open = h("button", { type: "button", class: "icon-button", "aria-label": label, "aria-haspopup": "menu", "aria-expanded": "false", popovertarget: id }, icon("more"));
  for (const [text, act, kind = ""] of items) {
    list.append(h("button", { type: "button", role: "menuitem", tabindex: "-1", class: kind, onclick: () => (list.hidePopover(), act()) }, text));
  }
  list.addEventListener("toggle", (event) => {
    const isOpen = event.newState === "open";
    open.setAttribute("aria-expanded", String(isOpen));
    if (!isOpen) return;
    const place = open.getBoundingClientRect();
    list.style.top = `${Math.min(place.bottom + 4, innerHeight - list.offsetHeight - 8)}px`;
    list.style.left = `${Math.max(8, place.right - list.offsetWidth)}px`;
    list.firstElementChild.focus();
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = [...list.children];
    all[(all.indexOf(document.activeElement) + step + all.length) % all.length].focus();
  });
  return h("span", { class: "menu-place" }, open, list);
}
