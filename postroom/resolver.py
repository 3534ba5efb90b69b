"""Questions to the DNS, bounded in time and size. Only the worker and a check on request ask them, never within a
transaction.

A stranger would get wrong: "there is no such record" is an answer, silence is none. `Unanswered` proves nothing and
must change nothing.
"""

from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

SECONDS = 5.0
MOST_VALUES = 100


class Unanswered(Exception):
    """The DNS gave no usable answer: a timeout, SERVFAIL, REFUSED or nonsense. The text says which, for a person."""


@dataclass(frozen=True)
class Found:
    """What a name has of one type: TXT as its joined text, MX as `10 mx.example.`, others as dnspython writes them.
    `alias` is where a CNAME at the name leads, without the trailing dot."""

    values: tuple[str, ...] = ()
    alias: str | None = None


class Resolver:
    """Asks the server at `address:port`; the system's own resolvers where it is empty."""

    def __init__(self, address: str = "") -> None:
        self._resolver = dns.asyncresolver.Resolver(configure=not address)
        if address:
            host, _, port = address.rpartition(":")
            self._resolver.nameservers = [host.strip("[]")]
            self._resolver.port = int(port)
        self._resolver.lifetime = SECONDS

    async def find(self, name: str, record_type: str) -> Found:
        """The records of one type at an absolute name. Raises Unanswered."""
        try:
            answer = await self._resolver.resolve(
                dns.name.from_text(name), record_type, raise_on_no_answer=False, search=False
            )
        except dns.resolver.NXDOMAIN:
            return Found()
        except (dns.exception.DNSException, OSError) as error:
            raise Unanswered(type(error).__name__) from None
        alias = str(answer.canonical_name).rstrip(".") if answer.canonical_name != answer.qname else None
        return Found(tuple(_text(record) for record in list(answer.rrset or ())[:MOST_VALUES]), alias)


def _text(record: object) -> str:
    strings = getattr(record, "strings", None)
    return str(record) if strings is None else b"".join(strings).decode("utf-8", "replace")
