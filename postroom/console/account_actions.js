// Actions on accounts, for the list, for the page of one account and for the overview.

import { can, current, get, post, put } from "./api.js";
import { fill, h } from "./dom.js";
import { hasNone, leadToDomain, usableDomains } from "./domain_actions.js";
import { confirm, dialog, explain, field, form, input, toast } from "./widgets.js";
import { passwordPanel } from "./secret.js";
import { linkPanel } from "./setup_links.js";

/** Headers with an Idempotency-Key, so that sending a request twice carries it out once. */
function once() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return { "idempotency-key": Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("") };
}

/** The domains with the most accounts, by the counters. */
async function busiest() {
  return can("stats:read") ? (await get("/v2/stats?limit=200")).domains.map((item) => item.domain) : [];
}

/** The values of the promises that were kept. */
async function kept(promises) {
  return (await Promise.allSettled(promises)).map((result) => result.value);
}

export async function createAccount({ go, domain = "", user = "", created = () => {} }) {
  const own = current().key.user_id;
  const [found, names = []] = await kept([usableDomains(), busiest()]); // without suggestions, the domain is typed
  if (document.querySelector("dialog[open]")) return;
  if (hasNone(found)) return leadToDomain(found, go);
  const known = [...new Set([...names, ...(found?.active || []).map((item) => item.domain)])];
  const list = h("datalist", { id: "known-domains" }, known.map((name) => h("option", { value: name })));
  const local = input("local_part", { autofocus: true, required: true, placeholder: "billing", class: "grow" });
  const place = input("domain", { required: true, placeholder: "example.com", list: "known-domains", value: domain || (known.length === 1 ? known[0] : "") });
  const headers = once();
  const password = field("Password", input("password", { type: "password", autocomplete: "new-password", placeholder: "Empty: a strong one is made" }), { hint: "15 characters or more, or leave it empty." });
  await dialog("Create account", (close, element) =>
    form(
      [
        h("div", { class: "address-pair" }, field("Name before the @", local), h("span", { class: "at", "aria-hidden": "true" }, "@"), field("Domain", place), list),
        h("div", { class: "pair" },
          field("User", input("user_id", { required: true, value: own || user, readonly: Boolean(own), placeholder: "user_123" }), { hint: "Your platform's id of the customer." }),
          field("Display name", input("display_name", { placeholder: "Optional", spellcheck: "true", autocapitalize: "words" }))),
        password,
        h("label", { class: "check" }, h("input", { type: "checkbox", name: "setup_link", onchange: (event) => (password.hidden = event.target.checked) }), "Make a link instead, with which its owner sets the password"),
      ],
      { verb: "Create account", close },
      async (values) => {
        const body = { domain: values.domain.trim(), local_part: values.local_part.trim(), user_id: values.user_id };
        if (values.display_name) body.display_name = values.display_name;
        if (element.querySelector("[name=setup_link]").checked) body.credential = "setup_link";
        else if (values.password) body.password = values.password;
        const missing = ["local_part", "domain", "user_id"].filter((name) => !body[name]);
        if (missing.length) throw { status: 400, message: "", fields: missing.map((name) => ({ field: name, message: "This is needed." })) };
        let made;
        try {
          made = await post("/v2/email-accounts/create", body, { headers });
        } catch (problem) {
          if (problem.status > 0) Object.assign(headers, once()); // refused: the next attempt is another request
          throw placed(problem);
        }
        const { account } = made;
        fill(element.querySelector("h2"), "Account created");
        element.querySelector("form").replaceWith((made.setup_url ? linkPanel : passwordPanel)(account, made, { close }));
        created(account, go);
      },
    ),
  );
}

/** Shows a refusal at the field that it is about, even if the API names no field. */
function placed(problem) {
  const field = { address_exists: "local_part", reserved_local_part: "local_part", domain_not_active: "domain", not_found: "domain" }[problem.code];
  if (field && !problem.fields.length) {
    const text = problem.code === "not_found" ? "There is no such domain for this user." : problem.message;
    problem.fields = [{ field, message: text }];
  }
  return problem;
}

export async function resetPassword(account) {
  return dialog("Reset password", (close, element) =>
    form(
      [
        h("p", { class: "lead" }, "The old password stops working and open sessions end at once. ", h("strong", null, account.address), " keeps all its mail."),
        field("New password", input("password", { type: "password", autocomplete: "new-password", placeholder: "Empty: a strong one is made", autofocus: true })),
        h("label", { class: "check" }, h("input", { type: "checkbox", name: "disable_scripts" }), "Stop its Sieve scripts too: one may forward its mail"),
        h("label", { class: "check" }, h("input", { type: "checkbox", name: "revoke_app_passwords" }), "Delete its app passwords too"),
      ],
      { verb: "Reset password", close },
      async (values) => {
        const body = values.password ? { password: values.password } : {};
        if (element.querySelector("[name=disable_scripts]").checked) body.disable_scripts = true;
        if (element.querySelector("[name=revoke_app_passwords]").checked) body.revoke_app_passwords = true;
        const made = await post(`/v2/email-accounts/${account.id}/password/reset`, body);
        fill(element.querySelector("h2"), "Password reset");
        element.querySelector("form").replaceWith(passwordPanel(account, made, { label: "New password", close }));
      },
    ),
  );
}

const CHANGES = {
  suspended: ["Suspend", "No login and no sending, and open sessions end. Mail still arrives and waits."],
  disabled: ["Disable", "No login and no sending, open sessions end, and new mail is refused."],
  active: ["Resume", "Same password, all mail."],
};

export async function changeStatus(account, to) {
  const [verb, text] = CHANGES[to];
  const change = () => put(`/v2/email-accounts/${account.id}`, { status: to });
  if (to === "active") {
    try {
      await change();
    } catch (problem) {
      toast(explain(problem));
      return false;
    }
    toast(`${account.address} is active again`);
    return true;
  }
  const done = await confirm(`${verb} ${account.address}?`, text, verb, change);
  if (done) toast(`${account.address} is ${to}`);
  return Boolean(done);
}

export async function signOut(account) {
  const text = "Every open session ends now, and a message that is being sent is cut off. The password stays the same, so mail clients log in again: to keep them out, reset the password.";
  const done = await confirm(`Sign out ${account.address} everywhere?`, text, "Sign out", () => post(`/v2/email-accounts/${account.id}/sessions/end?fields=sessions_ended`, {}));
  if (!done) return false;
  toast(done.account.sessions_ended ? `${account.address} is signed out` : "Dovecot does not answer now. The sessions end as soon as it does.");
  return true;
}

export async function editName(account) {
  return dialog("Change display name", (close) =>
    form(
      [field("Display name", input("display_name", { value: account.display_name || "", autofocus: true, spellcheck: "true" }), { hint: "Empty: none." })],
      { verb: "Save", close },
      async (values) => close(await put(`/v2/email-accounts/${account.id}`, { display_name: values.display_name || null })),
    ),
  );
}

const MB = 1e6;

export async function editQuota(account) {
  const shown = account.quota_bytes === null ? "" : String(account.quota_bytes / MB);
  return dialog("Change the quota", (close) =>
    form(
      [
        h("p", { class: "lead" }, "A full mailbox refuses new mail. It keeps what it has."),
        h("div", { class: "pair" },
          field("Megabytes", input("quota_bytes", { value: shown, inputmode: "decimal", autofocus: true }), { hint: "Empty: no quota." }),
          field("Messages", input("quota_messages", { value: account.quota_messages ?? "", inputmode: "numeric" }), { hint: "Empty: no quota." })),
      ],
      { verb: "Save", close },
      async (values) => {
        const body = { quota_bytes: amount(values.quota_bytes, MB), quota_messages: amount(values.quota_messages, 1) };
        const wrong = Object.keys(body).filter((name) => Number.isNaN(body[name]));
        if (wrong.length) throw { status: 400, message: "", fields: wrong.map((name) => ({ field: name, message: "Use a number." })) };
        close(await put(`/v2/email-accounts/${account.id}`, body));
      },
    ),
  );
}

/** A whole number of units from a field that a person has filled in; null for an empty field. */
const amount = (text, unit) => (text.trim() === "" ? null : Math.round(Number(text) * unit));

/** Deletes an account. `restored` is called after the deletion has been undone. */
export async function deleteAccount(account, restored) {
  const text = "No login and no mail from this moment. Its mail is kept for some days. During that time the account can be restored: choose Deleted in the list of accounts.";
  const done = await confirm(`Delete ${account.address}?`, text, "Delete", () => post("/v2/email-accounts/delete", { id: account.id }));
  if (!done) return false;
  toast(`${account.address} is deleted`, {
    action: "Undo",
    seconds: 20,
    onaction: async () => (await restoreAccount(account)) && restored(),
  });
  return true;
}

export async function restoreAccount(account) {
  try {
    await post(`/v2/email-accounts/${account.id}/restore`, {});
  } catch (problem) {
    toast(explain(problem));
    return false;
  }
  toast(`${account.address} is back`);
  return true;
}

