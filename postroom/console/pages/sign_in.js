// Signing in: with an API key, which is sent once and not kept, or with the link that the terminal
// shows.

import { signIn } from "../api.js";
import { fill, h, icon } from "../dom.js";
import { explain, field, form, input, loading } from "../widgets.js";

export function page(shell, { themeButton, done }) {
  const box = h("div", { class: "sign-in-box" });
  const link = /^#link=([\w-]{43})$/.exec(location.hash)?.[1];
  fill(
    shell,
    h("div", { class: "sign-in-tools" }, themeButton()),
    h(
      "main",
      { id: "main", class: "sign-in-main" },
      h("div", { class: "brand large" }, h("span", { class: "logo", "aria-hidden": "true" }, icon("accounts")), h("span", null, "Postroom")),
      box,
      h("p", { class: "faint" }, "The console uses the public API and can do what your key can do. ", h("a", { href: "/docs/", "data-outside": "" }, "API reference")),
    ),
  );
  if (link) follow(box, link, done);
  else ask(box, done);
}

async function follow(box, link, done) {
  history.replaceState({}, "", location.pathname + location.search); // first of all, remove the token from the address
  fill(box, h("h1", null, "Signing in"), loading(2));
  try {
    await signIn({ link });
    done();
  } catch (problem) {
    ask(box, done, problem.status === 401 ? "This link has been used or is too old. Make another, or sign in with a key." : explain(problem));
  }
}

function ask(box, done, notice) {
  const key = input("key", { type: "password", autofocus: true, autocomplete: "off", placeholder: "pr_…", required: true });
  const element = form(
    [field("API key", key, { hint: "It is checked once and not kept, neither in this browser nor on the server." })],
    { verb: "Sign in" },
    async (values) => {
      const text = values.key.trim();
      if (!text) throw refused("Enter a key.");
      if (!/^[\x21-\x7e]{1,200}$/.test(text)) throw refused("That does not look like a key.");
      try {
        await signIn({ key: text });
      } catch (problem) {
        throw problem.status === 401 ? refused("This key is not valid here: mistyped, revoked, expired, or not for your network.") : problem;
      }
      key.value = "";
      done();
    },
  );
  fill(
    box,
    h("h1", null, "Sign in"),
    notice && h("div", { class: "alert", role: "alert" }, icon("alert"), h("span", null, notice)),
    element,
    h(
      "details",
      null,
      h("summary", null, "No key at hand?"),
      h("p", null, "On the server, this prints a link that works once:"),
      h("pre", null, h("code", null, "postroom console-link --organization demo")),
    ),
  );
  key.focus();
}

function refused(message) {
  return { status: 400, message, fields: [{ field: "key", message }] };
}
