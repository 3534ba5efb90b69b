"""The network around an instance: its ports, its spam filter, the DNS of its host, and port 25 of
other hosts.

If the DNS does not answer, nothing is proven: that is a warning, never an error.
"""

import asyncio
import ipaddress
import os
import pwd
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, nullcontext

import dns.reversename

from postroom.doctor.diagnosis import Diagnosis
from postroom.domains.resolver import Resolver, Unanswered
from postroom.instance.data_directory import CannotStart
from postroom.instance.system_user import Identity
from postroom.mailplane import daemons, probe
from postroom.service import ports
from postroom.settings import Settings

OUTSIDE = "gmail.com"  # a domain that always has mail exchangers
SECONDS = 5.0


def free_ports(settings: Settings, with_postfix: bool) -> Iterator[Diagnosis]:
    """Checks whether the ports of an instance that does not run are free."""
    wanted = [("port", settings.host, settings.port)]
    if settings.mail == "on":
        wanted += ports.mail_ports(settings, with_postfix)
    fine = True
    for listener in wanted:
        try:
            ports.check_free(iter([listener]))
        except CannotStart as error:
            fine = False
            yield Diagnosis("error", "ports", str(error), f"ss -ltnp sport = :{listener[2]}")
    if fine:
        yield Diagnosis("ok", "ports", "All ports are free.")


async def spam_filter(settings: Settings) -> AsyncIterator[Diagnosis]:
    """Checks whether the filter answers Postfix. Mail arrives without it, so its absence is no
    error."""
    if not settings.filter_milter:
        yield Diagnosis("skipped", "filter", "POSTROOM_FILTER_MILTER is not set: mail arrives unfiltered.")
        return
    with _as_postfix() if settings.filter_milter.startswith("unix:") else nullcontext():
        reason = await probe.filter_milter(settings)
    if reason == probe.UNSEEN and os.geteuid() == 0:
        reason = f"Postfix may not connect to {settings.filter_milter}: mail arrives unfiltered."
    if reason == probe.UNSEEN:
        yield Diagnosis("skipped", "filter", reason, "sudo postroom doctor")
    elif reason:
        yield Diagnosis("warning", "filter", reason, f"tail {settings.data}/log/postfix.log")
    else:
        yield Diagnosis("ok", "filter", f"{settings.filter_milter} answers.")


def _as_postfix() -> AbstractContextManager[None]:
    """Acts as Postfix, which cannot open each socket that root can. Does nothing without root."""
    try:
        entry = pwd.getpwnam(daemons.POSTFIX_GROUP)
    except KeyError:
        return nullcontext()
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return Identity(entry.pw_name, entry.pw_uid, entry.pw_gid).acting(groups)


async def host(settings: Settings) -> AsyncIterator[Diagnosis]:
    """Checks the host's own records: an address, its reverse name, and, if there is an MX, that it
    names this host."""
    name, resolver = settings.hostname, Resolver(settings.resolver)
    if name.endswith(".test") and not settings.resolver:
        yield Diagnosis("skipped", "dns", f"{name} is a name for tests. POSTROOM_HOSTNAME sets another.")
        return
    fine = True
    try:
        addresses = [value for kind in ("A", "AAAA") for value in (await resolver.find(name, kind)).values]
        if not addresses:
            fine = False
            yield Diagnosis("error", "dns", f"{name} has no address: publish A or AAAA.", f"dig {name} A {name} AAAA")
        for address in addresses:
            back = str(dns.reversename.from_address(address))
            names = [value.rstrip(".").lower() for value in (await resolver.find(back, "PTR")).values]
            if name not in names:
                fine = False
                text = f"{address} leads back to {', '.join(names) or 'nothing'} instead of {name}: set its PTR."
                yield Diagnosis("warning", "dns", text, f"dig -x {address}")
        exchangers = [value.split()[-1].rstrip(".").lower() for value in (await resolver.find(name, "MX")).values]
        if exchangers and name not in exchangers:
            fine = False
            yield Diagnosis("warning", "dns", f"The MX of {name} is {exchangers[0]}, not itself.", f"dig {name} MX")
    except Unanswered as error:
        yield Diagnosis("warning", "dns", f"The DNS gives no answer about {name}: {error}.", f"dig {name}")
        return
    if fine:
        yield Diagnosis("ok", "dns", f"{name} is {', '.join(addresses)}, and back.")


async def port_25(settings: Settings) -> AsyncIterator[Diagnosis]:
    """Checks whether mail can leave this machine: many providers block port 25."""
    if settings.outbound == "off" or settings.relayhost:
        yield Diagnosis("skipped", "port 25", "With these settings nothing is sent to port 25 of other hosts.")
        return
    resolver = Resolver(settings.resolver)
    try:
        exchangers = sorted((await resolver.find(OUTSIDE, "MX")).values, key=lambda value: int(value.split()[0]))
        target = exchangers[0].split()[-1]
        addresses = [value for kind in ("A", "AAAA") for value in (await resolver.find(target, kind)).values]
        if not await _any_opens([str(ipaddress.ip_address(address)) for address in addresses]):
            text = f"Port 25 of {target} cannot be reached: ask your provider, or set POSTROOM_RELAYHOST."
            yield Diagnosis("error", "port 25", text, f"nc -zv {target.rstrip('.')} 25")
            return
    except (Unanswered, IndexError, ValueError):
        yield Diagnosis("warning", "port 25", f"The DNS names no mail exchanger of {OUTSIDE}.", f"dig {OUTSIDE} MX")
        return
    yield Diagnosis("ok", "port 25", "Mail can leave: port 25 of other hosts answers.")


async def _any_opens(addresses: list[str]) -> bool:
    for address in addresses:
        try:
            async with asyncio.timeout(SECONDS):
                _, writer = await asyncio.open_connection(address, 25)
        except (OSError, TimeoutError):
            continue
        writer.close()
        return True
    return False
