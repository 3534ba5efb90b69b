"""How mail leaves: whether the relay host takes the login, and what protects mail on its way to the
recipients' hosts.

The login is tried as Postfix does it: over TLS, with PLAIN or LOGIN, after the same check of the
certificate.
"""

import asyncio
import base64
import ipaddress
import os
import smtplib
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.resolver

from postroom.doctor.diagnosis import Diagnosis
from postroom.domains.resolver import Resolver, Unanswered
from postroom.mailplane.postfix import relay
from postroom.mailplane.postfix.relay import Relay
from postroom.settings import BadSettings, Settings

SECONDS = 5.0
LOGGED_IN = 235
STS_DAEMON = Path("/usr/bin/mta-sts-daemon")
# A name that postfix-mta-sts-resolver answers without asking anyone (socketmap_table(5)).
QUESTION = b"16:postfix .invalid,"


class _Unusable(Exception):
    """Mail waits. The text says why, and what to do."""

    def __init__(self, text: str, command: str = "") -> None:
        super().__init__(text)
        self.command = command


async def relay_host(settings: Settings) -> AsyncIterator[Diagnosis]:
    """Checks whether the relay host can be reached, is the right host, and takes the login."""
    found = relay.relay(settings)
    if found is None:
        yield Diagnosis("skipped", "relay", "No mail goes to a relay host (POSTROOM_RELAYHOST).")
        return
    try:
        password = relay.password(settings)
        machine = await _machine(found, Resolver(settings.resolver))
        await asyncio.to_thread(_try, found, machine, password, settings.hostname)
    except BadSettings as error:
        seen = os.geteuid() == 0
        yield Diagnosis("error" if seen else "skipped", "relay", str(error), "" if seen else "sudo postroom doctor")
    except _Unusable as error:
        yield Diagnosis("error", "relay", f"{error} Until then mail waits.", error.command)
    else:
        yield _fine(found)


def _fine(found: Relay) -> Diagnosis:
    if not found.user:
        return Diagnosis("ok", "relay", f"{found.destination} answers. Postroom does not log in there.")
    text = f"{found.destination} accepts the login of {found.user} over TLS"
    if found.is_verified:
        return Diagnosis("ok", "relay", f"{text}, and its certificate is valid.")
    return Diagnosis(
        "warning", "relay", f"{text}, but nobody checks its certificate: POSTROOM_RELAYHOST should be its name."
    )


async def _machine(found: Relay, resolver: Resolver) -> str:
    """Returns the name of the machine that takes mail for the relay host."""
    if found.has_mx:
        with suppress(Unanswered):
            values = sorted((await resolver.find(found.host, "MX")).values, key=lambda value: int(value.split()[0]))
            if values:
                return values[0].split()[-1].rstrip(".")
    return found.host


def _try(found: Relay, machine: str, password: str, hostname: str) -> None:
    """Connects and logs in. Raises _Unusable."""
    look = f"nc -zv {machine} {found.port}"
    try:
        with _connected(found, machine, hostname) as client:
            if found.user:
                _login(client, found, password)
    except ssl.SSLCertVerificationError as error:
        text = f"The certificate of {machine} is not valid: {error.verify_message}."
        advice = "POSTROOM_RELAY_CA can name the certificate of its authority."
        raise _Unusable(f"{text} {advice}", _openssl(found, machine)) from None
    except ssl.SSLError as error:
        raise _Unusable(f"{machine} speaks no usable TLS on port {found.port}: {error.reason}.", look) from None
    except smtplib.SMTPException as error:
        raise _Unusable(f"{machine} does not speak SMTP on port {found.port}: {type(error).__name__}.", look) from None
    except OSError as error:
        raise _Unusable(f"{machine} cannot be reached on port {found.port}: {error.strerror or error}.", look) from None


def _connected(found: Relay, machine: str, hostname: str) -> smtplib.SMTP:
    """Returns a session over TLS with the right host. Raises _Unusable."""
    client: smtplib.SMTP
    context = _context(found)
    if found.is_wrapped:
        client = smtplib.SMTP_SSL(machine, found.port, hostname, timeout=SECONDS, context=context)
    else:
        client = smtplib.SMTP(machine, found.port, hostname, timeout=SECONDS)
    try:
        client.ehlo()
        if not found.is_wrapped:
            _start_tls(client, found, machine, context)
        if found.is_verified:
            _check_names(client, found, machine)
        client.ehlo()
    except Exception:
        client.close()
        raise
    return client


def _start_tls(client: smtplib.SMTP, found: Relay, machine: str, context: ssl.SSLContext) -> None:
    if client.has_extn("starttls"):
        client.starttls(context=context)
    elif found.tls_level != "may":
        raise _Unusable(f"{machine} offers no TLS on port {found.port}.", _openssl(found, machine))


def _context(found: Relay) -> ssl.SSLContext:
    """Returns a context that judges a certificate as Postfix does: ssl.create_default_context() is
    stricter (VERIFY_X509_STRICT)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # `_check_names` also accepts a name below, as Postfix does
    if not found.is_verified:
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        context.load_verify_locations(found.authority)
    except OSError as error:  # ssl.SSLError too
        name = "POSTROOM_RELAY_CA: " if found.ca else ""
        raise _Unusable(f"{name}{found.authority}: {error.strerror or error}.") from None
    return context


def _check_names(client: smtplib.SMTP, found: Relay, machine: str) -> None:
    assert isinstance(client.sock, ssl.SSLSocket)
    certificate: dict[str, Any] = client.sock.getpeercert() or {}
    pairs: tuple[tuple[str, str], ...] = certificate.get("subjectAltName", ())
    names = [value.lower() for kind, value in pairs if kind == "DNS"]
    if not any(_is_for(name, found.host) for name in names):
        text = f"The certificate of {machine} is for {', '.join(names) or 'no name'}, not for {found.host}."
        raise _Unusable(f"{text} POSTROOM_RELAYHOST must have a name of the certificate.", _openssl(found, machine))


def _is_for(name: str, host: str) -> bool:
    return name == host or name.endswith(f".{host}") or name == f"*.{host.partition('.')[2]}"


def _login(client: smtplib.SMTP, found: Relay, password: str) -> None:
    offered = client.esmtp_features.get("auth", "").upper().split()
    if not {"PLAIN", "LOGIN"} & set(offered):
        words = " ".join(offered) or "no login"
        raise _Unusable(f"{found.destination} offers {words}; Postroom logs in with PLAIN or LOGIN.")
    if "PLAIN" in offered:
        secret = _encoded("\0".join(("", found.user, password)))
        code, _ = client.docmd("AUTH", f"PLAIN {secret}")
    else:
        code, _ = client.docmd("AUTH", "LOGIN")
        for word in (found.user, password):
            code, _ = client.docmd(_encoded(word))
    if code != LOGGED_IN:
        text = f"{found.destination} refuses the login of {found.user} with {code}."
        raise _Unusable(f"{text} Check POSTROOM_RELAY_USER and POSTROOM_RELAY_PASSWORD.")


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _openssl(found: Relay, machine: str) -> str:
    start = "" if found.is_wrapped else " -starttls smtp"
    return f"openssl s_client -connect {machine}:{found.port}{start} -showcerts </dev/null"


async def tls(settings: Settings) -> AsyncIterator[Diagnosis]:
    """Says what protects mail on its way to other hosts, and what is missing."""
    found = relay.relay(settings)
    if settings.outbound == "off":
        yield Diagnosis("skipped", "outbound tls", "No mail leaves (POSTROOM_OUTBOUND=off).")
    elif found:
        words = {"secure": "TLS and a valid certificate are demanded", "encrypt": "TLS is demanded"}
        text = words.get(found.tls_level, "TLS is used if it is offered")
        yield Diagnosis("ok", "outbound tls", f"{found.tls_level}: all mail goes to {found.destination}; {text}.")
    elif settings.outbound_tls == "dane":
        for diagnosis in [diagnosis async for diagnosis in _dane()]:
            yield diagnosis
    elif settings.outbound_tls == "mta-sts":
        yield await _mta_sts()
    else:
        text = "may: mail is encrypted where the recipient's host offers TLS. POSTROOM_OUTBOUND_TLS can demand more."
        yield Diagnosis("ok", "outbound tls", text)


async def _dane() -> AsyncIterator[Diagnosis]:
    servers = list(_name_servers())
    if not servers:
        yield Diagnosis("warning", "outbound tls", "dane has no effect: /etc/resolv.conf names no resolver.")
    fine = bool(servers)
    for server in servers:
        if reason := await _doubt(server):
            fine = False
            yield Diagnosis("warning", "outbound tls", f"dane: {reason}", "apt-get install unbound")
    if fine:
        yield Diagnosis("ok", "outbound tls", f"dane: the resolver {', '.join(servers)} validates DNSSEC.")


def _name_servers() -> Iterator[str]:
    """Yields the resolvers that Postfix asks."""
    with suppress(dns.resolver.NoResolverConfiguration, OSError):
        yield from map(str, dns.resolver.Resolver("/etc/resolv.conf").nameservers)


async def _doubt(server: str) -> str:
    """Returns why the answers of a resolver prove nothing, or an empty string."""
    query = dns.message.make_query(".", "SOA", want_dnssec=True)
    query.flags |= dns.flags.AD
    try:
        answer = await dns.asyncquery.udp(query, server, timeout=SECONDS)
    except (dns.exception.DNSException, OSError):
        return f"the resolver {server} does not answer."
    if not answer.flags & dns.flags.AD:
        return f"the resolver {server} does not validate DNSSEC, so mail is sent as with `may`."
    if not ipaddress.ip_address(server).is_loopback:
        return f"the resolver {server} is another machine, whose answers can be forged on their way."
    return ""


async def _mta_sts() -> Diagnosis:
    host, _, port = relay.MTA_STS.rpartition(":")
    try:
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(QUESTION)
                answers = (await reader.readuntil(b",")).partition(b":")[2].startswith(b"NOTFOUND")
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        answers = False
    if answers:
        return Diagnosis("ok", "outbound tls", f"mta-sts: postfix-mta-sts-resolver answers at {relay.MTA_STS}.")
    if not STS_DAEMON.exists():
        text = "mta-sts: postfix-mta-sts-resolver is not installed. Until then mail waits."
        return Diagnosis("error", "outbound tls", text, "apt-get install postfix-mta-sts-resolver")
    text = f"mta-sts: postfix-mta-sts-resolver does not answer at {relay.MTA_STS}. Until then mail waits."
    return Diagnosis("error", "outbound tls", text, "systemctl status postfix-mta-sts-resolver")
