// The frame around the pages: the session, the navigation, and the page of each path.

import { current, resume, signOut, whenSessionEnds } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { page as account } from "./pages/account.js";
import { page as accounts } from "./pages/accounts.js";
import { page as domain } from "./pages/domain.js";
import { page as domains } from "./pages/domains.js";
import { page as events } from "./pages/events.js";
import { page as keys } from "./pages/keys.js";
import { page as overview } from "./pages/overview.js";
import { page as signIn } from "./pages/sign_in.js";
import { page as webhook } from "./pages/webhook.js";
import { page as webhooks } from "./pages/webhooks.js";
import { themeButton } from "./theme_button.js";
import { empty, explain, iconButton, mountMessages, toast } from "./widgets.js";

// Path, title, page. A page fills `main`; `part` is the part of the path after the first segment.
const ROUTES = [
  [/^\/$/, "Overview", overview],
  [/^\/accounts$/, "Accounts", accounts],
  [/^\/accounts\/(\d{1,18})$/, "Account", account],
  [/^\/domains$/, "Domains", domains],
  [/^\/domains\/([^/]+)$/, "Domain", domain],
  [/^\/keys$/, "Keys", keys],
  [/^\/webhooks$/, "Webhooks", webhooks],
  [/^\/webhooks\/(\d{1,18})$/, "Webhook", webhook],
  [/^\/events$/, "Events", events],
];
const NAVIGATION = [
  ["/", "overview", "Overview", "stats:read"],
  ["/accounts", "accounts", "Accounts", "accounts:read"],
  ["/domains", "domains", "Domains", "domains:read"],
  ["/keys", "keys", "Keys", "keys:read"],
  ["/webhooks", "webhooks", "Webhooks", "webhooks:read"],
  ["/events", "events", "Events", "events:read"],
];

let main;
let leave = () => {};

/** Opens a path of the console. */
export function go(path, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"]({}, "", path);
  render();
}

async function render() {
  leave();
  const controller = new AbortController();
  leave = () => controller.abort();
  for (const open of document.querySelectorAll("dialog[open]")) open.close();
  const found = ROUTES.map(([pattern, title, page]) => [pattern.exec(location.pathname), title, page]).find(([match]) => match);
  if (!found && location.pathname !== "/sign-in") return renderNotFound();
  if (!found || !current()) return renderSignIn();
  frame();
  const [match, title, page] = found;
  document.title = `${title} · Postroom`;
  main.replaceChildren();
  window.scrollTo(0, 0);
  await page(main, { part: match[1] && decodeURIComponent(match[1]), go, signal: controller.signal });
  if (!controller.signal.aborted) main.querySelector("h1")?.focus({ preventScroll: true });
}

function renderSignIn() {
  main = null;
  document.title = "Sign in · Postroom";
  const next = location.pathname === "/sign-in" ? new URLSearchParams(location.search).get("next") : location.pathname + location.search;
  if (location.pathname !== "/sign-in") {
    history.replaceState({}, "", next === "/" ? "/sign-in" : `/sign-in?next=${encodeURIComponent(next)}`);
  }
  const shell = h("div", { class: "sign-in" });
  fill(root, shell);
  signIn(shell, { themeButton, done: () => go(inside(next), { replace: true }) });
}

/**
 * The path to open after signing in: `next` if it is a path of this console, otherwise the
 * overview.
 */
function inside(next) {
  return next && ROUTES.some(([pattern]) => pattern.test(next.split("?")[0])) ? next : "/";
}

/** A path that no page has, with or without a session. */
function renderNotFound() {
  document.title = "Not found · Postroom";
  const content = [h("h1", { class: "offscreen", tabindex: "-1" }, "Not found"), empty("search", "There is no such page", "Check the address.", h("a", { class: "button primary", href: "/" }, current() ? "To the overview" : "To the console"))];
  if (current()) {
    frame();
    fill(main, content);
  } else {
    main = null;
    fill(root, h("main", { id: "main", class: "lonely" }, content));
  }
  root.querySelector("h1").focus({ preventScroll: true });
}

const root = h("div", { id: "root" });

function frame() {
  if (!main) {
    main = h("main", { id: "main", tabindex: "-1" });
    fill(root, h("a", { class: "skip", href: "#main" }, "Skip to the content"), h("div", { class: "frame" }, sidebar(), main));
  }
  for (const link of root.querySelectorAll(".nav a")) {
    const target = link.getAttribute("href");
    const here = target === "/" ? location.pathname === "/" : location.pathname.startsWith(target);
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function sidebar() {
  const { organization, key } = current();
  const shown = NAVIGATION.filter(([, , , scope]) => key.scopes.includes(scope) || scope === "stats:read");
  return h(
    "div",
    { class: "sidebar" },
    h("a", { class: "brand", href: "/" }, logo(), h("span", null, "Postroom")),
    h(
      "nav",
      { class: "nav", "aria-label": "Console" },
      shown.map(([path, name, text]) => h("a", { href: path }, icon(name), h("span", null, text))),
    ),
    h(
      "div",
      { class: "whoami" },
      h(
        "div",
        { class: "who" },
        h("strong", null, organization),
        h("span", { class: "faint" }, key.user_id ? `user ${key.user_id}` : key.name || `key ${key.prefix}…`),
      ),
      h(
        "div",
        { class: "tools" },
        h("a", { class: "icon-button", href: "/docs/", "data-outside": "", "aria-label": "API reference", title: "API reference" }, icon("book")),
        themeButton(),
        iconButton("out", "Sign out", leaveSession),
      ),
    ),
  );
}

function logo() {
  return h("span", { class: "logo", "aria-hidden": "true" }, icon("accounts"));
}

async function leaveSession() {
  try {
    await signOut();
  } catch (problem) {
    if (problem.status !== 401) return toast(explain(problem));
  }
  go("/sign-in", { replace: true });
}

function follow(event) {
  const link = event.target.closest("a[href]");
  const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!link || !isPlain || event.defaultPrevented || link.dataset.outside !== undefined || link.origin !== location.origin) return;
  if (link.getAttribute("href").startsWith("#")) return;
  event.preventDefault();
  go(link.pathname + link.search);
}

whenSessionEnds(() => {
  if (location.pathname === "/sign-in") return;
  render();
  toast("Your session has ended. Sign in to continue.");
});
window.addEventListener("popstate", render);
document.addEventListener("click", follow);
document.body.append(root);
mountMessages();
try {
  await resume();
  render();
} catch (problem) {
  fill(root, h("main", { class: "lonely" }, empty("alert", "Postroom does not answer", explain(problem), h("a", { class: "button", href: location.href, "data-outside": "" }, "Try again"))));
}
