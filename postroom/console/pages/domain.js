// One domain: the DNS records that it needs, whether they are published, and how to fix those that
// are not.

import { can, current, get, post, withQuery } from "../api.js";
import { catchAllCard } from "../aliases.js";
import { createAccount } from "../account_actions.js";
import { fill, h } from "../dom.js";
import { MOST_LOOKED_AT, domainsNamed, pathOf } from "../domain_actions.js";
import { number } from "../format.js";
import { routeCard } from "../inbound_route.js";
import { recommendedCard, requiredCard, tally, zoneFile } from "../domain_records.js";
import { unicodeOf } from "../idn.js";
import { button, card, confirm, copyable, explain, facts, missing, pageHead, region, status, toast } from "../widgets.js";

// Time between two looks at a pending domain; a check that was too early says when the next one may be.
const REFRESH_MS = 15_000;

// A platform domain belongs to no user, and any user sees it.
const ANYBODY = "console";

export async function page(main, context) {
  const named = current().key.user_id || new URLSearchParams(location.search).get("user_id");
  let hint;
  const show = async (user) => {
    const path = `/v2/domains/${encodeURIComponent(context.part)}`;
    const found = await get(withQuery(`${path}/info`, { user_id: user, fields: "*" }), { signal: context.signal });
    document.title = `${found.domain.domain} · Postroom`;
    return view(found, { ...context, main, path, user });
  };
  await region(main, async () => {
    try {
      return await show(named || ANYBODY);
    } catch (problem) {
      if (problem.status !== 404 || named) throw problem;
      const { claims, isCut } = await domainsNamed(context.part, context.signal);
      if (isCut) hint = `None of the first ${number(MOST_LOOKED_AT)} domains has this name. If it belongs to a user, open it from the list of domains.`;
      if (!claims.length) throw problem;
      if (claims.length > 1) return choice(context.part, claims);
      history.replaceState(history.state, "", pathOf(claims[0]));
      return show(claims[0].user_id);
    }
  }, { lost: () => missing("There is no such domain", ["/domains", "Domains"], hint) });
}

/** What an address without a user shows if several users have claimed the domain. */
function choice(name, claims) {
  return [
    pageHead(name, { back: ["/domains", "Domains"], lead: "Users have claimed this domain. Whose do you mean?" }),
    card(null, facts(claims.map((claim) => [status(claim.status), h("a", { href: pathOf(claim) }, `user ${claim.user_id}`)]))),
  ];
}

// Reserved names for tests, which the public DNS never has (RFC 6761). The demo and the default
// host name use .test.
const RESERVED = /\.(test|invalid|localhost)$/;

/**
 * Notes for a newcomer: why the domain is active without any record, who may use it, and what these
 * names are.
 */
function notes(domain, mx) {
  const isTrial = RESERVED.test(domain.domain);
  return [
    domain.activated_by === "operator" &&
      `The operator has made this domain ${domain.status}, so no record is required for it, and its DNS is not checked. ${isTrial ? "" : "To exchange mail with the Internet, it still needs the records below."}`,
    !domain.user_id && "A platform domain: every user of the organization may have accounts on it.",
    isTrial &&
      `No name under .${domain.domain.split(".").at(-1)} is in the public DNS: this domain is for trying things out, with mail that stays on this server. For a real one: Domains, Add domain, publish the records that are shown, Check DNS now.`,
    RESERVED.test(mx.host) &&
      `${mx.host} is what this server calls itself until the operator gives it a real name (POSTROOM_HOSTNAME). Records that lead to it do not work outside this server: set the name first.`,
  ].filter(Boolean);
}

function view({ domain, dns, mx, route }, context) {
  const records = h("div", { class: "stack" });
  const verdict = h("div");
  const actions = h("div", { class: "page-actions" });
  const now = { domain, dns };
  const check = button("Check DNS now", { icon: "refresh", kind: domain.status === "pending" ? "primary" : "", onclick: () => verify() });
  let drawn = "";
  const draw = (info) => {
    Object.assign(now, info);
    const text = JSON.stringify(now);
    if (text === drawn) return; // so that a look at a pending domain disturbs nobody who reads or copies
    drawn = text;
    const focused = document.activeElement?.getAttribute("aria-label");
    fill(verdict, summary(now));
    const isOpen = records.querySelector("details")?.open;
    const [required, recommended] = [true, false].map((wanted) => now.dns.filter((record) => record.required === wanted));
    fill(records, requiredCard(titleOf(now.domain), domain.domain, required), recommendedCard(domain.domain, recommended));
    if (isOpen) records.querySelector("details").open = true;
    fill(
      actions,
      can("accounts:write") && now.domain.status === "active" && button("Create account", { icon: "plus", onclick: () => createAccount({ go: context.go, domain: domain.domain, user: domain.user_id || "" }) }),
      can("domains:write") && check,
      zoneFile(domain.domain, now.dns),
      can("domains:write") && button("Delete", { kind: "danger-outline", onclick: () => remove(domain, context) }),
    );
    if (focused) records.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  };

  /** Checks the DNS. Returns the seconds for which another check would be refused. */
  async function verify({ quiet = false } = {}) {
    if (!quiet) check.disabled = true;
    if (!tally(now.dns)) verdict.setAttribute("aria-busy", "true"); // the first judgement
    check.classList.toggle("busy", !quiet);
    try {
      const info = await post(`${context.path}/verify`, { user_id: context.user }, { signal: context.signal });
      const isNew = info.domain.status === "active" && now.domain.status !== "active";
      draw({ ...info, domain: { ...now.domain, ...info.domain } });
      if (isNew || !quiet) toast(info.domain.status === "active" ? "The domain is active" : "Checked");
      return 0;
    } catch (problem) {
      if (!quiet && problem.name !== "AbortError") toast(problem.status === 429 ? `Checked a moment ago. Try again in ${problem.retryAfter || 1} s.` : explain(problem));
      return problem.retryAfter || 0;
    } finally {
      verdict.removeAttribute("aria-busy");
      check.disabled = false;
      check.classList.remove("busy");
    }
  }

  draw(now);
  watch(now, context, draw, verify);
  return [
    pageHead(unicodeOf(domain.domain) || domain.domain, { back: ["/domains", "Domains"], actions }),
    unicodeOf(domain.domain) && h("p", { class: "spelling" }, h("span", { class: "label" }, "In the DNS "), copyable(domain.domain, "Copy the name as the DNS has it")),
    verdict,
    h("div", { class: "notes" }, notes(domain, mx).map((text) => h("p", null, text))),
    records,
    can("accounts:read") && domain.status !== "pending" && catchAllCard(domain, context),
    routeCard(domain, route, context),
  ];
}

function titleOf(domain) {
  if (domain.activated_by !== "operator") return "Required";
  return RESERVED.test(domain.domain) ? "What a real domain would need" : "Required to exchange mail with the Internet";
}

/**
 * Refreshes the page of a domain by itself for as long as the domain is pending: by a check of its
 * DNS if this key may ask for one, otherwise by reading the domain again.
 */
async function watch(now, { path, user, signal }, draw, verify) {
  while (now.domain.status === "pending" && !signal.aborted) {
    let wait = 0;
    if (!document.hidden && can("domains:write")) wait = await verify({ quiet: true });
    else if (!document.hidden) {
      const { domain } = await get(withQuery(`${path}/info`, { user_id: user, fields: "*" }), { signal }).catch(() => now);
      if (domain.status !== now.domain.status) draw({ domain });
    }
    await new Promise((resolve) => setTimeout(resolve, Math.max(REFRESH_MS, wait * 1000)));
  }
}

function summary({ domain, dns }) {
  const required = tally(dns.filter((record) => record.required));
  const found = required && `${required} required records found.`;
  const texts = {
    pending: found || "Publish the required records at your DNS provider. This page checks them by itself.",
    active: domain.degraded_at ? `Checks fail: ${domain.degraded_reason || "the DNS has changed"}. Mail still works.` : found || "Accounts can be made.",
    suspended: "No account can be made.",
  };
  return h(
    "div",
    { class: "banner" },
    status(domain.status),
    h("span", null, texts[domain.status]),
    domain.status === "pending" && h("span", { class: "faint" }, "Checked again by itself."),
    h("span", { class: "faint end" }, domain.user_id ? `user ${domain.user_id}` : "platform domain"),
  );
}

async function remove(domain, { go, user }) {
  const text = "Anybody can then claim the name. A domain with accounts cannot be deleted: delete the accounts first.";
  const done = await confirm(`Delete ${domain.domain}?`, text, "Delete", () => post("/v2/domains/delete", { domain: domain.domain, user_id: domain.user_id || user }));
  if (!done) return;
  toast(`${domain.domain} is deleted`);
  go("/domains");
}
