// The page of an account's owner: it signs in with the address and the password, and asks only
// /v2/me/….

import { call, get, keep, post, resume, signOut, whenSessionEnds } from "./api.js";
import { appPasswordsCard } from "./app_passwords.js";
import { profileLink, settingsRows } from "./client_settings.js";
import { address, fill, h, icon } from "./dom.js";
import { plural } from "./format.js";
import { editVacation, vacationWords } from "./rules.js";
import { themeButton } from "./theme_button.js";
import { button, card, confirm, copyable, dialog, empty, explain, facts, field, form, iconButton, input, mountMessages, region, toast } from "./widgets.js";

const SESSION = "/v2/me/session";
const PROTOCOLS = { imap: "Reading mail (IMAP)", pop3: "Reading mail (POP3)", managesieve: "Filters (Sieve)" };
const LATER = "The mail server does not answer now. Mail clients are signed out as soon as it does.";

const root = h("div", { id: "root" });

/** The form to sign in, with a notice above it. */
function renderSignIn(notice) {
  document.title = "Sign in to your mailbox";
  const name = input("address", { type: "email", autocomplete: "username", inputmode: "email", required: true, placeholder: "you@example.com" });
  const password = input("password", { type: "password", autocomplete: "current-password", required: true });
  const sheet = form(
    [field("Address", name), field("Password", password, { hint: "That of your mailbox, not an app password." })],
    { verb: "Sign in" },
    async (values) => {
      const missing = ["address", "password"].filter((each) => !values[each].trim());
      if (missing.length) throw wrong(missing[0], "This is needed.");
      const body = { address: values.address.trim(), password: values.password };
      const told = (await call("POST", SESSION, { body, signingIn: true })).data;
      keep(told);
      render(told);
    },
  );
  fill(
    root,
    h("div", { class: "sign-in" },
      h("div", { class: "sign-in-tools" }, themeButton()),
      h("main", { id: "main", class: "sign-in-main" },
        h("div", { class: "sign-in-box" },
          h("div", { class: "sign-in-head" }, logo(), h("h1", { tabindex: "-1" }, "Your mailbox")),
          notice && h("div", { class: "notice", role: "status" }, notice),
          sheet),
        h("p", { class: "faint" }, "Forgot your password? Ask where you got your mailbox."))),
  );
  name.focus();
}

function wrong(name, message) {
  return { status: 400, message, fields: [{ field: name, message }] };
}

function logo() {
  return h("span", { class: "logo", "aria-hidden": "true" }, icon("accounts"));
}

/** The page of a session, as /v2/me describes it. */
function render(told) {
  const account = { address: told.account.address, settings: { ...told, address: told.account.address } };
  document.title = `${account.address} · Your mailbox`;
  const sessions = sessionsCard();
  fill(
    root,
    h("a", { class: "skip", href: "#main" }, "Skip to the content"),
    h("div", { class: "own" },
      h("header", { class: "own-bar" },
        h("div", { class: "own-name" }, logo(), h("span", { class: "strong" }, address(account.address))),
        h("div", { class: "own-tools" }, themeButton(), iconButton("out", "Sign out", leave))),
      h("main", { id: "main", tabindex: "-1" },
        h("h1", { class: "offscreen", tabindex: "-1" }, "Your mailbox"),
        passwordCard(account, sessions.load),
        appPasswordsCard(account, { own: true }),
        sessions.element,
        vacationCard(account),
        settingsCard(account))),
  );
  root.querySelector("h1").focus({ preventScroll: true });
}

async function leave() {
  try {
    await signOut(SESSION);
  } catch (problem) {
    if (problem.status !== 401) return toast(explain(problem));
  }
  renderSignIn("You are signed out.");
}

function passwordCard(account, changed) {
  const change = button("Change password", { onclick: async () => (await changePassword(account)) && changed() });
  return card("Password", h("p", { class: "card-body" }, "You sign in with it here and in mail clients that have no app password."), { actions: change });
}

function changePassword(account) {
  const words = { type: "password", autocomplete: "new-password", required: true };
  return dialog("Change password", (close) =>
    form(
      [
        h("p", { class: "lead" }, "Mail clients that use the old password are signed out and ask for the new one. App passwords stay."),
        // For password managers, which store the new password with this name.
        h("input", { name: "username", autocomplete: "username", value: account.address, readonly: true, hidden: true }),
        field("Your password now", input("old", { ...words, autocomplete: "current-password", autofocus: true })),
        field("New password", input("new", words), { hint: "15 characters or more. Several words are easy to remember." }),
        field("The new password again", input("again", words)),
      ],
      { verb: "Change password", close },
      async (values) => {
        if (!values.old) throw wrong("old", "This is needed.");
        if (values.new !== values.again) throw wrong("again", "The two passwords are not the same.");
        const told = await post("/v2/me/password", { old: values.old, new: values.new });
        keep(told);
        close(true);
        toast(told.sessions_ended ? "Your password is changed" : `Your password is changed. ${LATER}`);
      },
    ),
  );
}

/** The card with the sessions of mail clients, and the function that loads it anew. */
function sessionsCard() {
  const content = h("div", { class: "brief" });
  const load = () => region(content, async () => {
    const { sessions } = await get("/v2/me/sessions");
    if (!sessions.length) return empty("accounts", "No mail client is signed in", "Phones and computers that are reading your mail are shown here.");
    return facts(grouped(sessions).map(({ protocol, client_address, count }) => [
      PROTOCOLS[protocol],
      h("span", null, h("code", null, client_address), h("span", { class: "faint" }, ` · ${plural(count, "connection")}`)),
    ]));
  }, { rows: 2 });
  const end = button("Sign out everywhere", { onclick: async () => (await endSessions()) && load() });
  load();
  return { element: card("Open sessions", content, { actions: end }), load };
}

/** Mail clients open several connections: one row for each protocol and address. */
function grouped(sessions) {
  const found = new Map();
  for (const { protocol, client_address } of sessions) {
    const key = `${protocol} ${client_address}`;
    found.set(key, { protocol, client_address, count: (found.get(key)?.count || 0) + 1 });
  }
  return [...found.values()];
}

async function endSessions() {
  const text = "All mail clients and other browsers are signed out now. A program that knows a password signs in again by itself: to keep one out, delete its app password or change your password.";
  const done = await confirm("Sign out everywhere?", text, "Sign out", () => post("/v2/me/sessions/end"));
  if (!done) return false;
  keep(done);
  toast(done.sessions_ended ? "All mail clients are signed out" : LATER);
  return true;
}

function vacationCard(account) {
  const content = h("div", { class: "brief" });
  let rule;
  const load = () => region(content, async () => {
    rule = (await get("/v2/me/vacation")).vacation;
    change.disabled = false;
    if (!rule.enabled) return h("p", { class: "card-body faint" }, "Off. While you are away, people who write to you can get a reply.");
    return h("div", { class: "card-body" }, h("p", null, vacationWords(rule)), h("blockquote", null, rule.text));
  }, { rows: 1 });
  const change = button("Change", { "aria-label": "Change the vacation", disabled: true, onclick: async () => (await editVacation("/v2/me", rule, account)) && load() });
  load();
  return card("Vacation", content, { actions: change });
}

function settingsCard(account) {
  return card("Settings for mail clients", [
    facts([["Address and user name", copyable(account.address, "Copy the address")], ...settingsRows(account.settings)]),
    account.settings.profile && h("div", { class: "card-foot" },
      h("p", { class: "faint" }, "iPhone, iPad and Mac: a profile enters all of this."),
      profileLink(account.settings, account.address)),
  ]);
}

whenSessionEnds(() => {
  for (const open of document.querySelectorAll("dialog[open]")) open.close();
  renderSignIn("Your session has ended. Sign in again.");
});
document.body.append(root);
mountMessages();
try {
  const told = await resume("/v2/me");
  if (told) render(told);
  else renderSignIn();
} catch (problem) {
  fill(root, h("main", { class: "lonely" }, empty("alert", "The server does not answer", explain(problem), h("a", { class: "button", href: "/me" }, "Try again"))));
}
