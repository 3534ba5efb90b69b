"""What a mail client needs to know about an account: as data, and as the documents that clients
fetch by themselves, namely Thunderbird's autoconfig, Outlook's Autodiscover (POX) and Apple's
configuration profile. Pure: does no I/O.

No document contains a password. A document that needs no key describes only the domain, so it is
the same for every address, even for an address that does not exist (decision 0075), and knows no
switches of an account (decision 0261).
"""

import plistlib
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Container
from typing import Literal
from xml.parsers import expat

import msgspec

from postroom.mail_host import MailHost

Security = Literal["tls", "starttls"]

REQUEST = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
ANSWER = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
OUTLOOK = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
NOT_XML = dict.fromkeys((0xFFFE, 0xFFFF))  # XML 1.0 2.2 forbids these characters; a display name may have them


class Server(msgspec.Struct, frozen=True):
    """One way to reach a service: `tls` uses TLS from the first byte, `starttls` begins in plain
    text and switches to TLS."""

    host: str
    port: int
    security: Security
    username: str
    authentication: Literal["plain"] = "plain"  # SASL PLAIN (RFC 4616), which sends the password inside TLS


class ClientSettings(msgspec.Struct, frozen=True):
    """The ways to reach each service, the best one first (RFC 8314 3)."""

    imap: list[Server]
    pop3: list[Server]
    submission: list[Server]
    managesieve: list[Server]


class BadRequest(ValueError):
    """The body is not an Autodiscover request."""


class AutodiscoverRequest(msgspec.Struct, frozen=True):
    """The fields of Outlook's request."""

    address: str
    schema: str


def settings(host: MailHost, username: str, off: Container[str] = ()) -> ClientSettings:
    """Returns the servers of the mail host for one user name, without the protocols that are
    off."""

    def ways(protocol: str, *ways: tuple[int, Security]) -> list[Server]:
        return [] if protocol in off else [Server(host.name, port, security, username) for port, security in ways]

    submission = ways("smtp", (host.submissions_port, "tls"), (host.submission_port, "starttls"))
    return ClientSettings(
        imap=ways("imap", (host.imaps_port, "tls"), (host.imap_port, "starttls")),
        pop3=ways("pop3", (host.pop3s_port, "tls"), (host.pop3_port, "starttls")),
        submission=submission if host.has_submission else [],
        managesieve=ways("sieve", (host.sieve_port, "starttls")),
    )


def autoconfig(domain: str, host: MailHost) -> str:
    """Returns Thunderbird's document, version 1.1, for a domain. The client fills in the
    address."""
    known = settings(host, "%EMAILADDRESS%")
    root = ET.Element("clientConfig", version="1.1")
    provider = ET.SubElement(root, "emailProvider", id=domain)
    for tag in ("domain", "displayName", "displayShortName"):
        _add(provider, tag, domain)
    kinds = (("incomingServer", "imap", known.imap), ("incomingServer", "pop3", known.pop3))
    for tag, kind, servers in (*kinds, ("outgoingServer", "smtp", known.submission)):
        for server in servers:
            element = ET.SubElement(provider, tag, type=kind)
            _add(element, "hostname", server.host)
            _add(element, "port", str(server.port))
            _add(element, "socketType", "SSL" if server.security == "tls" else "STARTTLS")
            _add(element, "authentication", "password-cleartext")
            _add(element, "username", server.username)
    return _document(root)


def parse_autodiscover(body: bytes) -> AutodiscoverRequest:
    """Reads a request. Raises BadRequest, also for a document type declaration, which rules out all
    entities."""
    texts = {"EMailAddress": "", "AcceptableResponseSchema": ""}
    path: list[str] = []

    def refuse(*_: object) -> None:
        raise BadRequest

    def text(data: str) -> None:
        if path[:-1] == [f"{REQUEST} Autodiscover", f"{REQUEST} Request"]:
            name = path[-1].removeprefix(f"{REQUEST} ")
            if name in texts:
                texts[name] += data

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda name, _: path.append(name)
    parser.EndElementHandler = lambda _: path.pop()
    parser.CharacterDataHandler = text
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, LookupError, ValueError):  # an unknown encoding, or bytes that violate it
        raise BadRequest from None
    return AutodiscoverRequest(texts["EMailAddress"].strip(), texts["AcceptableResponseSchema"].strip())


def autodiscover(address: str, host: MailHost) -> str:
    """Returns Outlook's document for a canonical address. It lists only the best way to reach each
    service, because Outlook uses the first one."""
    known = settings(host, address)
    root = ET.Element("Autodiscover", xmlns=ANSWER)
    account = ET.SubElement(ET.SubElement(root, "Response", xmlns=OUTLOOK), "Account")
    _add(account, "AccountType", "email")
    _add(account, "Action", "settings")
    for kind, servers in (("IMAP", known.imap), ("POP3", known.pop3), ("SMTP", known.submission)):
        if not servers:
            continue
        server, protocol = servers[0], ET.SubElement(account, "Protocol")
        _add(protocol, "Type", kind)
        _add(protocol, "Server", server.host)
        _add(protocol, "Port", str(server.port))
        _add(protocol, "LoginName", server.username)
        rest = {"DomainRequired": "off", "SPA": "off", "SSL": "on", "Encryption": "SSL", "AuthRequired": "on"}
        for tag, value in rest.items():
            _add(protocol, tag, value)
        if kind == "SMTP":
            _add(protocol, "UsePOPAuth", "on")
            _add(protocol, "SMTPLast", "off")
    return _document(root)


def profile(id_: int, address: str, display_name: str | None, host: MailHost, off: Container[str] = ()) -> str | None:
    """Returns Apple's configuration profile, unsigned. The device asks for the password. A newer
    profile of the account replaces an older one. Returns None if IMAP and POP3 are both off."""
    known = settings(host, address, off)
    incoming = known.imap or known.pop3
    if not incoming:
        return None
    ways = [("Incoming", incoming[0]), *(("Outgoing", server) for server in known.submission[:1])]
    name = f"{host.name}.account.{id_}"
    mail = {
        "PayloadType": "com.apple.mail.managed",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"{name}.mail",
        "PayloadUUID": _uuid(f"{name}.mail"),
        "PayloadDisplayName": address,
        "EmailAccountDescription": address,
        "EmailAccountType": "EmailTypeIMAP" if known.imap else "EmailTypePOP",
        "EmailAddress": address,
        "OutgoingPasswordSameAsIncomingPassword": True,
    }
    shown = (display_name or "").translate(NOT_XML)
    if shown:
        mail["EmailAccountName"] = shown
    for way, server in ways:
        mail[f"{way}MailServerAuthentication"] = "EmailAuthPassword"
        mail[f"{way}MailServerHostName"] = server.host
        mail[f"{way}MailServerPortNumber"] = server.port
        mail[f"{way}MailServerUseSSL"] = True
        mail[f"{way}MailServerUsername"] = server.username
    whole = {
        "PayloadType": "Configuration",
        "PayloadVersion": 1,
        "PayloadIdentifier": name,
        "PayloadUUID": _uuid(name),
        "PayloadDisplayName": f"Mail: {address}",
        "PayloadDescription": f"Sets up {address} in Mail.",
        "PayloadRemovalDisallowed": False,
        "PayloadContent": [mail],
    }
    return plistlib.dumps(whole).decode()


def _uuid(name: str) -> str:
    """Always the same for an account, so that a device replaces the profile instead of adding
    another one."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name)).upper()


def _add(parent: ET.Element, tag: str, text: str) -> None:
    ET.SubElement(parent, tag).text = text


def _document(root: ET.Element) -> str:
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'
