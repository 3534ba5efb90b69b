// What an account has sent and may send: its counts, its send limits, and the block.

import { can, put } from "./api.js";
import { h } from "./dom.js";
import { number } from "./format.js";
import { button, dialog, explain, field, form, input, toast } from "./widgets.js";

const LIMITS = {
  recipients_per_hour: "An hour",
  recipients_per_day: "A day (UTC)",
  new_recipients_per_day: "New ones a day",
  recipients_per_message: "A message",
};

/** Rows of facts: the recipients of this hour and this day, and why the account may not send. */
export function sentFacts(account, sent, again) {
  const of = (count, limit) => (limit === null ? number(count) : `${number(count)} of ${number(limit)}`);
  const lift = can("accounts:write") && button("Lift the block", { onclick: async () => (await liftBlock(account)) && again() });
  return [
    ["Sent this hour", of(sent.recipients_this_hour, sent.limits.recipients_per_hour)],
    ["Sent today", h("span", { title: "Since midnight UTC" }, of(sent.recipients_today, sent.limits.recipients_per_day), h("div", { class: "faint" }, "Both count recipients, also of forwards and replies."))],
    !account.may_send && ["Sending", h("span", { class: "tag warn" }, "switched off")],
    account.send_blocked_at && ["Sending", h("span", { class: "with-action" }, h("span", { class: "tag warn" }, "blocked: it was at its send limit for too long"), lift)],
  ];
}

async function liftBlock(account) {
  try {
    await put(`/v2/email-accounts/${account.id}`, { send_blocked: false });
  } catch (problem) {
    toast(explain(problem));
    return false;
  }
  toast(`${account.address} may send again`);
  return true;
}

export async function editSendLimits(account) {
  const boxes = Object.entries(LIMITS).map(([name, words]) =>
    field(words, input(`send_limits.${name}`, { value: account.send_limits[name] ?? "", inputmode: "numeric" })));
  return dialog("Change the send limits", (close) =>
    form(
      [
        h("p", { class: "lead" }, "To how many recipients this account may write. Empty: as its user and your organization allow, whose limits apply too."),
        h("div", { class: "pair" }, boxes.slice(0, 2)),
        h("div", { class: "pair" }, boxes.slice(2)),
        h("label", { class: "check" }, h("input", { type: "checkbox", name: "may_send", checked: account.may_send }), "It may send mail, and its forwards and replies leave"),
      ],
      { verb: "Save", close },
      async (values) => {
        const numbers = Object.fromEntries(Object.keys(LIMITS).map((name) => [name, values[`send_limits.${name}`].trim()]));
        const wrong = Object.keys(numbers).filter((name) => !/^\d*$/.test(numbers[name]));
        if (wrong.length) throw { status: 400, message: "", fields: wrong.map((name) => ({ field: `send_limits.${name}`, message: "Use a whole number." })) };
        const limits = Object.fromEntries(Object.entries(numbers).map(([name, text]) => [name, text === "" ? null : Number(text)]));
        close(await put(`/v2/email-accounts/${account.id}`, { send_limits: limits, may_send: "may_send" in values }));
      },
    ),
  );
}
