// Widgets that several pages share: buttons, statuses, copyable values, messages, dialogs, forms,
// and the states of a region.

import { address, fill, h, icon, newId } from "./dom.js";
import { ago, when } from "./format.js";
import { inLabels } from "./labels.js";

export function button(text, { icon: name, kind = "", onclick, ...props } = {}) {
  return h("button", { type: "button", class: `button ${kind}`, onclick, ...props }, name && icon(name), h("span", null, text));
}

/** A button with only an icon; its label is for people who cannot see the icon. */
export function iconButton(name, label, onclick, props = {}) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick, ...props }, icon(name));
}

export function status(name, note) {
  return h("span", { class: `status ${name}` }, h("span", { class: "dot", "aria-hidden": "true" }), note || name);
}

/** A time relative to now, or in other words; its title has the exact time with its zone. */
export function moment(text, words = ago) {
  return text ? h("time", { datetime: text, title: when(text) }, words(text)) : h("span", { class: "faint" }, "never");
}

// --- copying

/**
 * Copies a text and returns whether that worked. Over plain HTTP a browser has no clipboard API, so
 * the older copy command is used.
 */
export async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Not allowed; the older command may work.
    }
  }
  const before = document.activeElement;
  const area = h("textarea", { class: "offscreen", readonly: true, "aria-hidden": "true", tabindex: "-1" });
  area.value = text;
  (document.querySelector("dialog[open]") || document.body).append(area); // while a dialog is open, only its content can be selected
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  before?.focus();
  return done;
}

export function copyButton(text, label = "Copy") {
  const control = iconButton("copy", label, async () => {
    const done = await copy(text);
    fill(control, icon(done ? "check" : "cross"));
    control.classList.toggle("done", done);
    say(done ? "Copied" : "Select the text and copy it by hand");
    setTimeout(() => {
      fill(control, icon("copy"));
      control.classList.remove("done");
    }, 1600);
  });
  return control;
}

export function copyable(text, label) {
  return h("span", { class: "copyable" }, h("code", null, address(text)), copyButton(text, label));
}

// --- messages

const live = h("div", { class: "offscreen", role: "status", "aria-live": "polite" });
const toasts = h("div", { class: "toasts" });

export function mountMessages() {
  document.body.append(live, toasts);
}

/** Announces a text to screen readers only. */
export function say(text) {
  live.textContent = "";
  setTimeout(() => (live.textContent = text), 30);
}

export function toast(text, { action, onaction, seconds = 6 } = {}) {
  const end = () => box.remove();
  const box = h(
    "div",
    { class: "toast" },
    h("span", null, text),
    action && button(action, { kind: "plain", onclick: () => (end(), onaction()) }),
    iconButton("cross", "Dismiss", end),
  );
  toasts.append(box);
  say(text);
  setTimeout(end, seconds * 1000);
}

// --- dialogs

/**
 * Opens a modal dialog. `build(close)` makes its content; the promise resolves with the value that
 * `close` is called with.
 */
export function dialog(title, build, { wide = false } = {}) {
  return new Promise((resolve) => {
    const id = newId("title");
    const close = (value) => {
      result = value;
      element.close();
    };
    let result;
    const before = document.activeElement;
    const element = h(
      "dialog",
      { class: wide ? "wide" : "", "aria-labelledby": id },
      h("div", { class: "dialog-head" }, h("h2", { id }, title), iconButton("cross", "Close", () => close())),
    );
    element.append(build(close, element));
    // A secret is not shown again, so Escape must not close the dialog before it is copied.
    element.addEventListener("cancel", (event) => {
      if (element.querySelector(".secret-panel") && !element.querySelector(".copied")) event.preventDefault();
    });
    element.addEventListener("close", () => {
      element.remove();
      if (before?.isConnected) before.focus();
      resolve(result);
    });
    document.body.append(element);
    element.showModal();
    element.querySelector("[autofocus]")?.focus();
  });
}

/**
 * Asks for confirmation before an action that cannot be undone. `act` runs while the dialog is
 * open, so that the dialog can show an error.
 */
export function confirm(title, text, verb, act, { kind = "danger" } = {}) {
  return dialog(title, (close) =>
    form(
      [h("p", { class: "lead" }, text)],
      { verb, kind, close },
      async () => close((await act()) ?? true),
    ),
  );
}

// --- forms

/** A control with its label. The form shows the control's error below it. */
export function field(label, control, { hint, name = control.name } = {}) {
  const id = newId("field");
  control.id = id;
  const notes = [hint && h("p", { class: "hint", id: `${id}-hint` }, hint), h("p", { class: "error", id: `${id}-error` })];
  control.setAttribute("aria-describedby", hint ? `${id}-hint ${id}-error` : `${id}-error`);
  return h("div", { class: "field", dataset: { field: name } }, h("label", { for: id }, label), control, notes);
}

export function input(name, props = {}) {
  return h("input", { name, type: "text", autocomplete: "off", spellcheck: "false", autocapitalize: "off", ...props });
}

export function select(name, options, value, props = {}) {
  return h(
    "select",
    { name, ...props },
    options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)),
  );
}

/**
 * A form with its buttons. `act` gets the named values; a Problem that it throws is shown at the
 * fields and above the form.
 */
export function form(content, { verb, kind = "primary", close, extra }, act) {
  const alert = h("div", { class: "alert", role: "alert", hidden: true });
  const go = h("button", { type: "submit", class: `button ${kind}` }, h("span", null, verb));
  const element = h(
    "form",
    { class: "form", novalidate: true, onsubmit: (event) => (event.preventDefault(), run()) },
    alert,
    content,
    h("div", { class: "buttons" }, extra, close && button("Cancel", { onclick: () => close() }), go),
  );

  async function run() {
    if (go.disabled) return;
    clearErrors(element, alert);
    go.disabled = true;
    go.classList.add("busy");
    try {
      await act(Object.fromEntries(new FormData(element)));
    } catch (problem) {
      showErrors(element, alert, problem);
    } finally {
      go.disabled = false;
      go.classList.remove("busy");
    }
  }
  return element;
}

function clearErrors(element, alert) {
  alert.hidden = true;
  for (const box of element.querySelectorAll(".field .error")) box.textContent = "";
  for (const control of element.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
}

function showErrors(element, alert, problem) {
  let first;
  const rest = [];
  for (const error of problem.fields || []) {
    const box = element.querySelector(`[data-field="${CSS.escape(error.field)}"]`);
    const message = inLabels(error.message);
    if (!box) rest.push(message);
    else {
      const control = box.querySelector("input, select, textarea");
      control.setAttribute("aria-invalid", "true");
      box.querySelector(".error").textContent = message;
      first ||= control;
    }
  }
  if (!first || rest.length) {
    fill(alert, icon("alert"), h("span", null, [explain(problem), ...rest].join(" ")));
    alert.hidden = false;
  }
  first?.focus();
}

// Titles for errors of the mail plane behind the server.
const MAIL = { mail_unavailable: "No answer from the mailbox", mail_off: "No mail here" };

/** An error as one sentence for a person. */
export function explain(problem) {
  if (problem.status === 429) return `Too many requests. Try again in ${problem.retryAfter || 1} s.`;
  if (problem.code === "outcome_unknown") return "The request may have been carried out. Look before you try again.";
  if (MAIL[problem.code]) return problem.message;
  if (problem.status === 503) return "The server is busy. Try again in a moment.";
  if (problem.status === 404) return NOT_SEEN;
  if (problem.status === undefined) return "Something went wrong on this page.";
  return inLabels(problem.message);
}

// --- the states of a region

export function loading(rows = 5) {
  return h(
    "div",
    { class: "skeleton", role: "status" },
    h("span", { class: "offscreen" }, "Loading"),
    Array.from({ length: rows }, () => h("div", { class: "bone" })),
  );
}

export function empty(name, title, text, action) {
  return h("div", { class: "state" }, h("div", { class: "state-icon" }, icon(name)), h("h2", null, title), h("p", null, text), action);
}

/**
 * The state of a region that could not be loaded. If the server says when to retry, the region
 * retries by itself.
 */
export function failure(problem, retry) {
  if (problem.name !== "Problem" && problem.status === undefined) console.error(problem);
  const titles = { 0: "No connection", 403: "Not for this key", 404: "Nothing here", 429: "Slow down", 503: "Busy" };
  const waits = problem.retryAfter > 0 && [429, 503].includes(problem.status);
  const box = h(
    "div",
    { class: "state", role: "alert" },
    h("div", { class: "state-icon warn" }, icon("alert")),
    h("h2", null, MAIL[problem.code] || titles[problem.status] || "That did not work"),
    h("p", null, explain(problem), waits && " This page tries by itself."),
    problem.requestId && h("p", { class: "faint" }, "Request ", h("code", null, problem.requestId)),
    retry && ![403, 404].includes(problem.status) && problem.code !== "mail_off" && button("Try again", { icon: "refresh", onclick: retry }),
  );
  if (waits && retry) setTimeout(() => box.isConnected && retry(), problem.retryAfter * 1000 + 200);
  return box;
}

const NOT_SEEN = "It does not exist, or this key may not see it.";

/** A page about an object that this key does not see, with the way back to the list. */
export function missing(title, back, text = NOT_SEEN) {
  return [
    pageHead(title, { back }),
    empty("search", "Nothing here", text, h("a", { class: "button primary", href: back[0] }, `To the ${back[1].toLowerCase()}`)),
  ];
}

/**
 * Fills a region with the content from `work`: first a skeleton, then the content or the error.
 * `lost()` is what stands there after a 404.
 */
export async function region(element, work, { rows, lost } = {}) {
  fill(element, loading(rows));
  element.setAttribute("aria-busy", "true");
  try {
    fill(element, await work());
  } catch (problem) {
    if (problem.name === "AbortError" || problem.status === 401) return;
    if (problem.status === 404 && lost) fill(element, lost());
    else fill(element, failure(problem, () => region(element, work, { rows, lost })));
  } finally {
    element.removeAttribute("aria-busy");
  }
}

/** A card; several `actions` stand together at the end of its head. */
export function card(title, content, { actions, kind = "" } = {}) {
  return h(
    "section",
    { class: `card ${kind}` },
    title && h("div", { class: "card-head" }, h("h2", null, title), Array.isArray(actions) ? h("div", { class: "buttons start" }, actions) : actions),
    content,
  );
}

export function facts(rows) {
  return h(
    "dl",
    { class: "facts" },
    rows.filter(Boolean).map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))),
  );
}

export function pageHead(title, { lead, actions, back } = {}) {
  return h(
    "header",
    { class: "page-head" },
    back && h("a", { class: "back", href: back[0] }, icon("left"), back[1]),
    h("div", null, h("h1", { tabindex: "-1" }, title), actions && h("div", { class: "page-actions" }, actions)),
    lead && h("p", null, lead),
  );
}
