// The DNS records of a domain: each with its parts to copy and what was found, and all as a zone
// file.

import { fill, h, icon } from "./dom.js";
import { plural } from "./format.js";
import { button, card, copy, copyable, say } from "./widgets.js";

const PURPOSES = {
  ownership: "Proves that the domain is yours",
  mx: "Brings mail here",
  spf: "Lets this server send for the domain",
  dkim: "Signs what is sent",
  dmarc: "Says how receivers treat forgeries",
  tls_rpt: "Reports on encryption",
  mta_sts: "Requires encryption",
  mta_sts_host: "Serves the encryption policy",
  submission: "Mail clients find the sending server",
  submissions: "Mail clients find the sending server",
  imaps: "Mail clients find the reading server",
  pop3s: "Mail clients find the POP3 server",
  sieve: "Mail clients find the filter server",
  autoconfig: "Thunderbird finds all settings",
  autodiscover: "Outlook finds all settings",
};
const SIGNS = { ok: ["good", "check", "Found"], missing: ["bad", "cross", "Missing"], differs: ["warn", "alert", "Differs"], unanswered: ["warn", "alert", "No answer"] };
// A recommended record that is missing is nothing wrong.
const MILD = { ...SIGNS, missing: ["", "cross", "Not published"], differs: ["", "alert", "Differs"], unanswered: ["", "alert", "No answer"] };
const TTL = 3600;
const STRING = 255; // octets; RFC 1035 3.3: the longest string of a TXT record

/** The records as lines of a zone file, as `postroom domains dns --format zone` prints them. */
export function zone(domain, records) {
  return records.map((record) => `${zoneLine(domain, record)}\n`).join("");
}

function zoneLine(domain, record) {
  const name = record.host === "@" ? `${domain}.` : `${record.host}.${domain}.`;
  const priority = record.priority === undefined ? "" : `${record.priority} `;
  return `${name} ${TTL} IN ${record.record_type} ${priority}${record.record_type === "TXT" ? strings(record.expected_value) : `${record.expected_value}.`}`;
}

function strings(text) {
  const pieces = text.match(new RegExp(`.{1,${STRING}}`, "g")) || [];
  return pieces.map((piece) => `"${piece.replace(/[\\"]/g, "\\$&")}"`).join(" ");
}

/** "2 of 4", and how many of the others gave no answer; null before any check. */
export function tally(records) {
  if (!records.some((record) => record.status)) return null;
  const count = (status) => records.filter((record) => record.status === status).length;
  const silent = count("unanswered");
  return `${count("ok")} of ${records.length}${silent ? `, ${silent} without an answer` : ""}`;
}

/** The required records: open, and judged. */
export function requiredCard(title, domain, records) {
  return card(title, list(records, SIGNS), { actions: h("div", { class: "buttons start" }, copyAll(domain, records, "the required records")) });
}

/** The recommended records: folded, and never red. */
export function recommendedCard(domain, records) {
  if (!records.length) return null;
  const found = tally(records);
  return h(
    "details",
    { class: "card fold" },
    h("summary", null, h("h2", null, "Recommended"), h("span", { class: "faint" }, found ? `${found} published` : `${plural(records.length, "record")}, not required`)),
    h("div", { class: "fold-actions" }, copyAll(domain, records, "the recommended records")),
    list(records, MILD),
  );
}

/** Saves all records as a zone file. */
export function zoneFile(domain, records) {
  const save = () => {
    const href = URL.createObjectURL(new Blob([zone(domain, records)], { type: "text/plain" }));
    h("a", { href, download: `${domain}.zone` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60_000);
  };
  return button("Zone file", { onclick: save });
}

function copyAll(domain, records, what) {
  const control = button("Copy all", {
    icon: "copy",
    "aria-label": `Copy all of ${what}`,
    onclick: async () => {
      const worked = await copy(zone(domain, records));
      fill(control, icon(worked ? "check" : "cross"), h("span", null, worked ? "Copied" : "Copy by hand"));
      say(worked ? "Copied" : "Select the text and copy it by hand");
    },
  });
  return control;
}

function list(records, signs) {
  return h("ul", { class: "records" }, records.map((record) => recordLine(record, signs)));
}

function recordLine(record, signs) {
  const [tone, sign, text] = signs[record.status] || ["", "", ""];
  return h(
    "li",
    { class: `record ${tone}` },
    h("div", { class: "record-head" }, h("span", { class: "type" }, record.record_type), h("span", null, PURPOSES[record.purpose] || record.purpose), text && h("span", { class: `sign ${tone}` }, icon(sign), text)),
    h(
      "div",
      { class: "record-values" },
      parts(record).map(([name, value]) => line(name, copyable(value, `Copy the ${name.toLowerCase()} of ${record.record_type} ${record.host}`))),
      record.found?.length > 0 && record.status !== "ok" && line("Found", record.found.map((value) => h("code", { class: "found" }, typeof value === "string" ? value : JSON.stringify(value)))),
    ),
    record.fix && record.status !== "ok" && h("p", { class: signs === SIGNS ? "fix" : "fix mild" }, record.fix),
  );
}

/** What a provider's form asks for. Forms for SRV ask for each part of RFC 2782 by itself. */
function parts(record) {
  const priority = record.priority === undefined ? [] : [["Priority", String(record.priority)]];
  if (record.record_type !== "SRV") return [["Host", record.host], ...priority, ["Value", record.expected_value]];
  const [weight, port, target] = record.expected_value.split(" ");
  const [service, protocol] = record.host.split(".");
  return [["Host", record.host], ["Service", service], ["Protocol", protocol], ...priority, ["Weight", weight], ["Port", port], ["Target", target]];
}

function line(name, value) {
  return h("div", null, h("span", { class: "label" }, name), h("span", { class: "value" }, value));
}
