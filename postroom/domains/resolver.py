"""DNS queries with bounds on time and size. Only the worker and checks on request make them, never
within a transaction.

"There is no such record" is an answer; silence is not. `Unanswered` proves nothing and must change
nothing.
"""

from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

SECONDS = 5.0
MOST_VALUES = 100
PAYLOAD = 1232  # octets, https://www.dnsflagday.net/2020/: the library fetches larger answers by TCP
REASONS = {
    "LifetimeTimeout": "it timed out",
    "NoNameservers": "its servers failed",
    "YXDOMAIN": "the name is too long",
    "ChainTooLong": "too many CNAME records follow one another, or they lead in a circle",
    "NameTooLong": "the name is too long",
    "LabelTooLong": "the name is too long",
}


class Unanswered(Exception):
    """The DNS gave no usable answer: a timeout, SERVFAIL, REFUSED or a malformed answer. The text
    says which, for a person."""


@dataclass(frozen=True)
class Found:
    """The values of one type at a name: TXT as its joined text, MX as `10 mx.example.`, others
    as dnspython writes them. `alias` is the target of a CNAME at the name, without the trailing
    dot."""

    values: tuple[str, ...] = ()
    alias: str | None = None


class Resolver:
    """Asks the server at `address:port`, or the system's own resolvers if `address` is empty."""

    def __init__(self, address: str = "", seconds: float = SECONDS) -> None:
        self._resolver = dns.asyncresolver.Resolver(configure=False)
        self._resolver.nameservers = []
        if address:
            host, _, port = address.rpartition(":")
            self._resolver.nameservers = [host.strip("[]")]
            self._resolver.port = int(port)
        else:
            self._use_the_systems()
        self._resolver.use_edns(0, 0, PAYLOAD)
        self._resolver.lifetime = seconds

    def _use_the_systems(self) -> None:
        try:
            self._resolver.read_resolv_conf("/etc/resolv.conf")
        except dns.resolver.NoResolverConfiguration:  # a machine without DNS still starts; its checks are unanswered
            self._resolver.nameservers = []

    async def find(self, name: str, record_type: str) -> Found:
        """Returns the records of one type at an absolute name. Raises Unanswered."""
        try:
            absolute = dns.name.from_text(name)
            answer = await self._resolver.resolve(absolute, record_type, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN as error:
            return Found(alias=_alias(absolute, error.canonical_name))
        except (dns.exception.DNSException, OSError, EOFError) as error:
            raise Unanswered(_reason(error)) from None
        values = tuple(_text(record) for record in list(answer.rrset or ())[:MOST_VALUES])
        return Found(values, _alias(answer.qname, answer.canonical_name))


def _reason(error: Exception) -> str:
    """Says why there was no answer; for NoNameservers, what was wrong with one server's answer,
    where that is known."""
    causes = [tried[3] for tried in getattr(error, "kwargs", {}).get("errors", ())]
    names = [type(cause).__name__ for cause in [*causes, error]]
    return next((REASONS[name] for name in names if name in REASONS), "the answer was unusable")


def _alias(name: dns.name.Name, canonical: dns.name.Name) -> str | None:
    return str(canonical).rstrip(".") if canonical != name else None


def _text(record: object) -> str:
    strings = getattr(record, "strings", None)
    return str(record) if strings is None else b"".join(strings).decode("utf-8", "replace")
