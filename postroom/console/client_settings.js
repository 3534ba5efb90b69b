// The servers, ports and names that a mail client needs, as facts and as text to hand on.

import { get } from "./api.js";
import { h, icon } from "./dom.js";
import { copyable } from "./widgets.js";

const SERVICES = [
  ["imap", "Reading (IMAP)"],
  ["pop3", "Reading (POP3)"],
  ["submission", "Sending (SMTP)"],
  ["managesieve", "Filters (Sieve)"],
];
const SECURITY = { tls: "TLS", starttls: "STARTTLS" };

export const settingsPath = (account) => `/v2/email-accounts/${account.id}/client-settings`;
export const settingsOf = (account, options) => get(settingsPath(account), options);

/** The services that this server has, as [name, label, servers]. */
function offered(settings) {
  return SERVICES.map(([name, label]) => [name, label, settings[name]]).filter(([, , servers]) => servers.length);
}

/**
 * Rows for `facts`. All services have the same host; their options differ in port and encryption.
 */
export function settingsRows(settings) {
  const way = (server, name) => h("span", { class: "way" }, copyable(String(server.port), `Copy the ${name} port with ${SECURITY[server.security]}`), h("span", { class: "faint" }, SECURITY[server.security]));
  const services = offered(settings);
  return [
    services.length && ["Server", copyable(services[0][2][0].host, "Copy the server")],
    ...services.map(([name, label, servers]) => [label, h("span", { class: "ways" }, servers.map((server) => way(server, name)))]),
  ];
}

/** Everything to hand on, one fact a line. */
export function settingsText(settings, password) {
  const services = offered(settings);
  const ways = (servers) => servers.map((server) => `${server.port} (${SECURITY[server.security]})`).join(" or ");
  return [
    `Address: ${settings.address}`,
    `User name: ${settings.address}`,
    `Password: ${password}`,
    services.length && `Server: ${services[0][2][0].host}`,
    ...services.map(([, label, servers]) => `${label}: port ${ways(servers)}`),
  ].filter(Boolean).join("\n");
}

/** A link to Apple's profile, which has the servers and asks for the password. */
export function profileLink({ profile }, address) {
  const file = new Blob([profile], { type: "application/x-apple-aspen-config" });
  return h("a", { class: "button", href: URL.createObjectURL(file), download: `${address}.mobileconfig`, "data-outside": "" }, icon("accounts"), h("span", null, "Profile for Apple devices"));
}
