"""check_host() of RFC 7208 4: whether a domain's SPF record lets a client send.

The evaluation is synchronous and uses only known answers. If an answer is missing, the question is
noted and asked, and the evaluation starts again. The explanation (`exp=`) is parsed but never
looked up.
"""

import asyncio
import re
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Literal

from postroom.domains import spf, spf_macros
from postroom.domains.dns_lookups import Lookups, Open
from postroom.domains.resolver import Found, Resolver, Unanswered
from postroom.domains.spf import Mechanism, Record
from postroom.domains.spf_faults import MOST_SHOWN, Broken
from postroom.domains.spf_macros import Client, Context, MacroString

Result = Literal["pass", "fail", "softfail", "neutral", "none", "temperror", "permerror"]

MOST_LOOKUPS = 10  # terms; RFC 7208 4.6.4 for this bound and the next two
MOST_VOID_LOOKUPS = 2
MOST_HOSTS = 10  # names of one MX or PTR answer
SECONDS = 20.0  # RFC 7208 4.6.4: at least 20 seconds
AT_ONCE = 8

_RESULTS: dict[str, Result] = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}


async def check_host(
    resolver: Resolver,
    client: str | Client,
    domain: str,
    sender: str,
    helo: str = "unknown",
    seconds: float = SECONDS,
) -> Result:
    """Returns the result for an SMTP client at an address, with `domain` in A-labels and `sender`
    as `local@domain`. `seconds` bounds the time of all look-ups.

    Raises ValueError if `client` is not an address. No DNS answer raises an error.
    """
    address, lookups = of_client(client), Lookups()
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    return Check(lookups, address, sender, helo).result(domain)
                except Open:
                    await lookups.ask(resolver, AT_ONCE)
    except (Unanswered, TimeoutError):
        return "temperror"
    except Broken:
        return "permerror"


def of_client(client: str | Client) -> Client:
    """Returns the address to compare: the IPv4 address if `client` is IPv4-mapped (RFC 7208 5).
    Raises ValueError."""
    address = ip_address(client) if isinstance(client, str) else client
    return getattr(address, "ipv4_mapped", None) or address


class TooVoid(Broken):
    """The record needs too many void look-ups (RFC 7208 4.6.4)."""


class Check:
    """One evaluation. `stand_in` is a host without an address, which is treated as having the
    client's address. If `everybody` is false, a term that names nobody, such as `+all`, is neutral.
    `met_all` says whether the evaluation met such a term; `lookups` is the number of terms that
    needed the DNS."""

    def __init__(
        self,
        lookups: Lookups,
        client: Client,
        sender: str,
        helo: str = "unknown",
        *,
        stand_in: str = "",
        everybody: bool = True,
    ) -> None:
        self._answers = lookups
        self._client = client
        self._kind = "A" if client.version == 4 else "AAAA"
        self._local_part, _, self._sender_domain = sender.rpartition("@")
        self._helo = helo
        self._stand_in = stand_in
        self._everybody = everybody
        self.lookups = 0
        self._void_lookups = 0
        self._is_void = False  # whether the present term has had a void look-up
        self.met_all = False

    def result(self, domain: str, *, leads_here: bool = False) -> Result:
        """Returns the result of a domain's record. Raises Broken (permerror), Unanswered
        (temperror), and Open while a question is open."""
        name = domain.removesuffix(".")
        if not spf_macros.is_name(name):
            return "none"
        records = [value for value in self._answers.find(escaped(name), "TXT").values if spf.is_record(value)]
        if not records:
            return "none"
        try:
            record = the_one(records)
        except Broken as fault:
            raise Broken(f"At {_shown(name)}, to which the record leads: {fault}") if leads_here else fault from None
        for mechanism in record.mechanisms:
            if self._matches(mechanism, name):
                return self._qualified(mechanism)
        if record.redirect is None:
            return "neutral"
        self._count()
        return self._other(self._expanded(record.redirect, name), "redirect=")

    def _qualified(self, mechanism: Mechanism) -> Result:
        if mechanism.qualifier == "+" and spf.names_nobody(mechanism, self._client.version):
            self.met_all = True
            return "pass" if self._everybody else "neutral"
        return _RESULTS[mechanism.qualifier]

    def _matches(self, mechanism: Mechanism, domain: str) -> bool:
        if mechanism.name == "all":
            return True
        if mechanism.network is not None:
            return self._client in mechanism.network
        self._count()
        name = domain if mechanism.domain is None else self._expanded(mechanism.domain, domain)
        if mechanism.name == "include":
            return self._other(name, "include:") == "pass"
        if not spf_macros.is_name(name):  # RFC 7208 4.8 does not say what follows; such a name cannot be asked for
            return False
        match mechanism.name:
            case "exists":
                return bool(self._find(escaped(name), "A").values)
            case "ptr":
                return any(_is_below(host, escaped(name).lower()) for host in self._validated(counts=True))
            case "mx":
                return self._is_exchange(mechanism, name)
        return self._has_client(escaped(name), self._length(mechanism))

    def _is_exchange(self, mechanism: Mechanism, name: str) -> bool:
        hosts = [name_of(value) for value in sorted(self._find(escaped(name), "MX").values, key=preference_of)]
        if len(hosts) > MOST_HOSTS:
            raise Broken(f"The record has mx, and {_shown(name)} has more than {MOST_HOSTS} MX records.")
        hosts = [host for host in hosts if host]  # RFC 7505: a null MX
        self._answers.note((host, self._kind) for host in hosts)
        return any(self._has_client(host, self._length(mechanism)) for host in hosts)

    def _length(self, mechanism: Mechanism) -> int:
        return mechanism.length4 if self._client.version == 4 else mechanism.length6

    def _has_client(self, host: str, length: int) -> bool:
        """Whether the client is in the network around one of the host's addresses."""
        if host.lower() == self._stand_in:
            return True
        found = self._find(host, self._kind)
        is_stand_in = self._stand_in and (found.alias or "").lower() == self._stand_in
        return is_stand_in or any(self._client in ip_network(f"{at}/{length}", strict=False) for at in found.values)

    def _other(self, name: str, term: str) -> Result:
        """Returns the result of the domain that an include or redirect leads to (RFC 7208 5.2,
        6.1)."""
        result = self.result(name, leads_here=True)
        if result == "none":
            raise Broken(f"{term} leads to {_shown(name)}, which has no SPF record.")
        return result

    def _validated(self, *, counts: bool = False) -> list[str]:
        """Returns the client's names that lead back to the client (RFC 7208 5.5). A DNS error
        counts as no name."""
        try:
            pointers = (self._find if counts else self._answers.find)(self._client.reverse_pointer, "PTR").values
        except Open:
            raise
        except Unanswered:
            return []
        hosts = [name_of(value).lower() for value in pointers[:MOST_HOSTS]]
        self._answers.note((host, self._kind) for host in hosts)
        known = [(host, self._answers.hint(host, self._kind).values) for host in hosts]
        return [host for host, addresses in known if any(ip_address(at) == self._client for at in addresses)]

    def _expanded(self, pieces: MacroString, domain: str) -> str:
        local_part = self._local_part or "postmaster"  # RFC 7208 4.3
        sender_domain = self._sender_domain or domain
        return spf_macros.expand_domain(
            pieces, Context(self._client, local_part, sender_domain, self._helo, domain, self._validated_name)
        )

    def _validated_name(self, domain: str) -> str:
        """Returns the value of the macro p: the domain itself, else a name below it, else any name,
        else `unknown`."""
        hosts, wanted = self._validated(), escaped(domain).lower()
        ranked = sorted(hosts, key=lambda host: (host != wanted, not _is_below(host, wanted)))
        return next(iter(ranked), "unknown")

    def _find(self, name: str, record_type: str) -> Found:
        """Returns the answer for a term and counts void look-ups (RFC 7208 4.6.4)."""
        found = self._answers.find(name, record_type)
        if not found.values and not self._is_void:
            self._is_void = True
            self._void_lookups += 1
            if self._void_lookups > MOST_VOID_LOOKUPS:
                raise TooVoid(f"More than {MOST_VOID_LOOKUPS} terms of the record lead to names without records.")
        return found

    def _count(self) -> None:
        self._is_void = False
        self.lookups += 1
        if self.lookups > MOST_LOOKUPS:
            fewer = "use fewer include, a, mx, ptr and exists"
            raise Broken(f"The record needs more than {MOST_LOOKUPS} look-ups, so receivers do not use it: {fewer}.")


def the_one(records: Sequence[str]) -> Record:
    """Returns the parsed record of a domain. Raises Broken if there is not exactly one record, or
    if the record does not parse."""
    if len(records) != 1:
        raise Broken(f"There are {len(records)} SPF records, and a domain has one.")
    return spf.parse(records[0])


def escaped(name: str) -> str:
    """Returns a name in the text form that the resolver accepts (RFC 1035 5.1)."""
    return re.sub(r"[^A-Za-z0-9._-]", lambda found: f"\\{ord(found[0]):03d}", name)


def preference_of(mx: str) -> int:
    """Returns the preference of an MX value."""
    return int(mx.split()[0])


def name_of(value: str) -> str:
    """Returns the name at the end of an MX, SRV, CNAME or PTR value, without its last dot."""
    return value.split()[-1].removesuffix(".")


def _is_below(host: str, name: str) -> bool:
    return host == name or host.endswith(f".{name}")


def _shown(name: str) -> str:
    return name[:MOST_SHOWN]
