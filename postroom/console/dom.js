// Makes elements from data. Text goes in as text nodes only, so stored text can never become markup
// (decision 0061).

const SVG = "http://www.w3.org/2000/svg";

/**
 * Makes an element from properties, `on…` listeners, attributes, and children, which are nodes,
 * texts, lists of them, or nothing.
 */
export function h(tag, props, ...children) {
  return build(document.createElement(tag), props, children);
}

/** Like `h`, for SVG. */
export function s(tag, props, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

function build(element, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

function append(parent, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(parent, child);
    else if (child !== undefined && child !== null && child !== false) parent.append(child);
  }
}

/** Replaces all children of an element. */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

/** The parts of an address, which breaks before its @ if one line is too short for it. */
export function address(text) {
  const at = text.lastIndexOf("@");
  return at < 1 ? text : [text.slice(0, at), h("wbr"), text.slice(at)];
}

/** The parts of a network address, which breaks after its colons. */
export function network(text) {
  return (text || "").split(/(?<=:)/).flatMap((part) => [part, h("wbr")]);
}

const PATHS = {
  overview: "M3 12l9-8 9 8M5.500 10v9.500h13V10M10 19.500v-5h4v5",
  accounts: "M4 6.500h16v11H4zM4.500 7l7.500 6 7.500-6",
  domains: "M12 3.500a8.500 8.500 0 1 0 0 17 8.500 8.500 0 0 0 0-17zM3.500 12h17M12 3.500c2.500 2.400 3.600 5.300 3.600 8.500s-1.100 6.100-3.600 8.500c-2.500-2.400-3.600-5.300-3.600-8.500S9.500 5.900 12 3.500z",
  keys: "M14.500 4.500a5 5 0 1 1-3.900 8.100L4 19.200V21h3v-2h2v-2h2l1.300-1.500M15.500 8.500h.01",
  webhooks: "M12 6.500a2.500 2.500 0 1 0 0-.010M5.500 17.500a2.500 2.500 0 1 0 0-.010M18.500 17.500a2.500 2.500 0 1 0 0-.010M11 8.800l-4 6.400M8 17.500h8M13 8.800l4 6.400",
  events: "M4 12h4l2.500-6.500 4 13L17 12h3",
  plus: "M12 5v14M5 12h14",
  search: "M11 4.500a6.500 6.500 0 1 0 0 13 6.500 6.500 0 0 0 0-13zM15.800 15.800L20 20",
  copy: "M9 9h10v11H9zM5.500 15H5V4h10v1.500",
  check: "M5 12.500l4.500 4.500L19 7.500",
  cross: "M6 6l12 12M18 6L6 18",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.500v2M12 19.500v2M2.500 12h2M19.500 12h2M5.300 5.300l1.400 1.400M17.300 17.300l1.400 1.400M18.700 5.300l-1.400 1.400M6.700 17.300l-1.400 1.400",
  moon: "M19.500 14.500A8 8 0 0 1 9.500 4.500a8 8 0 1 0 10 10z",
  out: "M14 4.500H5v15h9M10 12h10.500M17 8.500l3.500 3.500-3.500 3.500",
  left: "M14.500 6l-6 6 6 6",
  right: "M9.500 6l6 6-6 6",
  more: "M5.500 12h.01M12 12h.01M18.500 12h.01",
  alert: "M12 4l9 16H3zM12 10v4.500M12 17.300h.01",
  book: "M5 4.500h5.500a2 2 0 0 1 1.500.7 2 2 0 0 1 1.500-.7H19v14h-5.500a2 2 0 0 0-1.500.8 2 2 0 0 0-1.500-.8H5zM12 5.500v13",
  refresh: "M19 12a7 7 0 1 1-2-4.900M19 4v4h-4",
};

/** An icon, which screen readers ignore. */
export function icon(name) {
  return s(
    "svg",
    { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true", focusable: "false" },
    s("path", { d: PATHS[name] }),
  );
}

let numbers = 0;

/** An id that no other element has. */
export function newId(name) {
  numbers += 1;
  return `${name}-${numbers}`;
}
