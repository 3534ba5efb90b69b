// The page of a setup link: the owner of an account sets its password, and then sees what a mail
// client needs. The token stands behind the #, so that no server, log or referrer sees it.

import { call } from "./api.js";
import { profileLink, settingsRows } from "./client_settings.js";
import { fill, h } from "./dom.js";
import { copyable, explain, facts, field, form, input, loading, mountMessages } from "./widgets.js";

const box = h("main", { id: "main", class: "sign-in-main setup" });
const token = location.hash.slice(1);
// First of all, remove the token from the address, from which it would go into the history.
history.replaceState({}, "", location.pathname);

/** The same page for a link that is wrong, expired or used: it says nothing to somebody who guesses. */
function refuse() {
  document.title = "This link does not work";
  show(
    h("h1", { tabindex: "-1" }, "This link does not work"),
    h("p", null, "It is wrong, too old, or was used before: each link works once."),
    h("p", null, "Ask for a new one where you got it."),
  );
}

function show(...content) {
  fill(box, h("div", { class: "sign-in-box" }, content));
  box.querySelector("h1").focus({ preventScroll: true });
}

function failed(problem) {
  if (problem.status === 404) return refuse();
  show(h("h1", { tabindex: "-1" }, "That did not work"), h("p", { role: "alert" }, explain(problem)), h("p", null, "Open the link again in a moment. It still works."));
}

async function ask() {
  show(h("h1", { tabindex: "-1" }, "Set your password"), loading(2));
  if (!/^[\w-]{43}$/.test(token)) return refuse();
  let found;
  try {
    found = (await call("POST", "/setup/look", { body: { token } })).data;
  } catch (problem) {
    return failed(problem);
  }
  const words = { type: "password", autocomplete: "new-password", required: true };
  const password = input("password", words);
  show(
    h("h1", { tabindex: "-1" }, "Set your password"),
    form(
      [
        // A field, so that password managers store the password with this name.
        field("Your address", input("username", { autocomplete: "username", value: found.address, readonly: true })),
        field("New password", password, { hint: "15 characters or more. Several words are easy to remember." }),
        field("The same password again", input("again", words)),
      ],
      { verb: "Set the password" },
      (values) => accept(values),
    ),
  );
  password.focus();
}

async function accept({ password, again }) {
  if (password !== again) throw wrong("again", "The two passwords are not the same.");
  let made;
  try {
    made = (await call("POST", "/setup/accept", { body: { token, password } })).data;
  } catch (problem) {
    if (problem.status === 404) return refuse();
    throw problem;
  }
  done(made);
}

function wrong(name, message) {
  return { status: 400, message, fields: [{ field: name, message }] };
}

function done(made) {
  document.title = "Your password is set";
  show(
    h("h1", { tabindex: "-1" }, "Your password is set"),
    h("p", { class: "lead", role: "status" }, "Enter this in your mail app, with your new password."),
    facts([["Address and user name", copyable(made.address, "Copy the address")], ...settingsRows(made)]),
    made.profile && h("p", null, "On an iPhone, iPad or Mac, this profile enters it for you and asks for the password:"),
    made.profile && profileLink(made, made.address),
  );
}

document.body.append(h("div", { id: "root" }, h("div", { class: "sign-in" }, box)));
mountMessages();
await ask();
