// The rules of an account: forwarding and vacation.

import { can, get, put } from "./api.js";
import { address, h } from "./dom.js";
import { when } from "./format.js";
import { button, card, dialog, facts, field, form, input, region, toast } from "./widgets.js";

/** The card with both rules of an account. */
export function rules(account, { signal }) {
  const path = `/v2/email-accounts/${account.id}`;
  const content = h("div", { class: "brief" });
  const load = () => region(content, async () => {
    const [{ forwarding }, { vacation }] = await Promise.all(["forwarding", "vacation"].map((name) => get(`${path}/${name}`, { signal })));
    const change = (name, edit, rule) => can("accounts:write") && button("Change", { kind: "plain", "aria-label": `Change the ${name}`, onclick: async () => (await edit(path, rule, account)) && load() });
    const row = (words, action) => h("span", { class: "with-action" }, words, action);
    return facts([
      ["Forwarding", row(forwardingWords(forwarding), change("forwarding", editForwarding, forwarding))],
      ["Vacation", row(vacationWords(vacation), change("vacation", editVacation, vacation))],
    ]);
  }, { rows: 2 });
  load();
  return card("What happens to its mail", content);
}

function forwardingWords(rule) {
  if (!rule.enabled) return h("span", { class: "faint" }, "off");
  const targets = rule.to.flatMap((target, place) => [place ? ", " : "", address(target)]);
  return h("span", null, h("span", { class: "tag warn" }, "on"), " to ", targets, rule.keep_copy ? ", with a copy here" : ", without a copy here");
}

export function vacationWords(rule) {
  if (!rule.enabled) return h("span", { class: "faint" }, "off");
  const bounds = [rule.from_at && `from ${when(rule.from_at)}`, rule.until_at && `until ${when(rule.until_at)}`].filter(Boolean).join(" ");
  return h("span", null, h("span", { class: "tag" }, rule.active_now ? "replies now" : "does not reply now"), bounds && ` ${bounds}`);
}

function check(name, text, checked) {
  return h("label", { class: "check" }, h("input", { type: "checkbox", name, checked }), text);
}

function area(name, value, rows) {
  const element = h("textarea", { name, rows: String(rows) });
  element.value = value;
  return element;
}

function editForwarding(path, rule, account) {
  return dialog("Forwarding", (close) =>
    form(
      [
        h("p", { class: "lead" }, "Mail to ", h("strong", null, account.address), " goes to these addresses too. Bounces and spam stay here."),
        check("enabled", "Forward its mail", rule.enabled),
        field("Addresses", area("to", rule.to.join("\n"), 4), { hint: "Up to ten, one a line." }),
        check("keep_copy", "Keep a copy here", rule.keep_copy),
      ],
      { verb: "Save", close },
      async (values) => {
        const body = { enabled: "enabled" in values, to: values.to.split(/[\n,;]+/).map((text) => text.trim()).filter(Boolean), keep_copy: "keep_copy" in values };
        close(await put(`${path}/forwarding`, body));
        toast("The forwarding is saved");
      },
    ),
  );
}

/** A time as a control of the type datetime-local wants it, in the zone of the browser. */
function local(text) {
  if (!text) return "";
  const moment = new Date(text);
  return new Date(moment - moment.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

/** Changes the vacation; `path` is that of the account. */
export function editVacation(path, rule, account) {
  return dialog("Vacation", (close) =>
    form(
      [
        h("p", { class: "lead" }, "People who write to ", h("strong", null, account.address), " get this reply."),
        check("enabled", "Reply to mail", rule.enabled),
        field("Subject", input("subject", { value: rule.subject || "", spellcheck: "true", placeholder: "Auto: and the subject of the message" })),
        field("Text", area("text", rule.text, 6)),
        h("div", { class: "pair" },
          field("From", input("from_at", { type: "datetime-local", step: "1", value: local(rule.from_at) })),
          field("Until", input("until_at", { type: "datetime-local", step: "1", value: local(rule.until_at) }))),
        field("Days before the same sender gets another reply", input("days", { type: "number", min: "1", max: "365", value: String(rule.days) })),
      ],
      { verb: "Save", close },
      async (values) => {
        const moment = (text) => (text ? new Date(text).toISOString() : null);
        const body = { enabled: "enabled" in values, subject: values.subject || null, text: values.text, days: Number(values.days) };
        close(await put(`${path}/vacation`, { ...body, from_at: moment(values.from_at), until_at: moment(values.until_at) }));
        toast("The vacation is saved");
      },
    ),
  );
}
