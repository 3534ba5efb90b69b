"""A real DNS server for the tests, authoritative for the records that a test publishes, over UDP
and TCP on the loopback."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

from dnslib import QTYPE, RCODE, RR, TXT, DNSError, DNSLabel, DNSRecord
from dnslib.server import BaseResolver, DNSHandler, DNSLogger, DNSServer

TXT_PIECE = 255
UDP_MOST = 1232
POLL_SECONDS = 0.02


@dataclass
class DnsServer(BaseResolver):  # type: ignore[misc]
    """The published records: absolute names without the last dot. Values are in zone-file form; TXT
    values are text or the strings of the record."""

    records: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    failing: set[tuple[str, str]] = field(default_factory=set)
    """Names and types that are answered with `SERVFAIL`."""
    rcodes: dict[str, str] = field(default_factory=dict)
    """Names that are answered with an error, as `SERVFAIL`."""
    silent: set[str] = field(default_factory=set)
    """Names that are never answered."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """The questions, as (name, type, protocol). One that is sent again, because its answer was late
    on a busy machine, has the same ID (RFC 1035 4.1.1) and counts once."""
    seen: set[tuple[int, str, str, str]] = field(default_factory=set)
    """The questions with their IDs."""
    validates: bool = False
    """Whether answers have the AD bit, like those of a resolver that validates DNSSEC."""
    host: str = "127.0.0.1"
    port: int = 0

    @classmethod
    @contextmanager
    def start(cls, host: str = "127.0.0.1", port: int = 0) -> "Iterator[DnsServer]":
        server = cls(host=host, port=port)
        udp, tcp = server._listen()
        for each in (udp, tcp):  # start_thread() takes half a second to end
            Thread(target=each.server.serve_forever, args=(POLL_SECONDS,), daemon=True).start()
        try:
            yield server
        finally:
            for running in (udp, tcp):
                running.stop()
                running.server.server_close()

    def _listen(self) -> tuple[DNSServer, DNSServer]:
        """Listens on the port, or on one that is free for both UDP and TCP."""
        options = {"address": self.host, "logger": DNSLogger(logf=lambda _: None)}
        while True:
            udp = DNSServer(self, port=self.port, **options)
            self.port = udp.server.server_address[1]
            try:
                return udp, DNSServer(self, port=self.port, tcp=True, **options)
            except OSError:
                udp.server.server_close()
                self.port = 0

    @property
    def address(self) -> str:
        """The server's address for POSTROOM_RESOLVER."""
        return f"{self.host}:{self.port}"

    def publish(self, name: str, record_type: str, *values: Any) -> None:
        """Sets the records of a name. TXT values are plain text or a tuple of strings; others are
        in zone-file form."""
        self.records[_key(name), record_type] = list(values)

    def publish_all(self, domain: str, wanted: Iterable[Mapping[str, Any]]) -> None:
        """Publishes the records as the API lists them, and no others."""
        for record in wanted:
            name = domain if record["host"] == "@" else f"{record['host']}.{domain}"
            kind, value = record["record_type"], record["expected_value"]
            if "priority" in record:
                value = f"{record['priority']} {value}"
            self.publish(name, kind, value if kind == "TXT" else f"{value}.")

    def withdraw(self, name: str, record_type: str) -> None:
        del self.records[name.rstrip(".").lower(), record_type]

    def resolve(self, request: DNSRecord, handler: DNSHandler) -> DNSRecord:
        reply = request.reply()
        reply.header.ad = int(self.validates)
        name, kind = str(request.q.qname).rstrip(".").lower(), QTYPE[request.q.qtype]
        if (question := (request.header.id, name, kind, handler.protocol)) not in self.seen:
            self.seen.add(question)
            self.asked.append(question[1:])
        if name in self.silent:
            raise DNSError("silent")
        if name in self.rcodes:
            reply.header.rcode = getattr(RCODE, self.rcodes[name])
            return reply
        if (name, kind) in self.failing:
            reply.header.rcode = RCODE.SERVFAIL
            return reply
        for _ in range(20):
            found = self.records.get((name, kind), [])
            for value in found:
                reply.add_answer(_record(name, kind, value))
            alias = self.records.get((name, "CNAME"), [])
            if found or not alias:
                break
            reply.add_answer(_record(name, "CNAME", alias[0]))
            name = alias[0].rstrip(".").lower()
        if not reply.rr and not any(known == name or known.endswith(f".{name}") for known, _ in self.records):
            reply.header.rcode = RCODE.NXDOMAIN
        if handler.protocol == "udp" and len(reply.pack()) > UDP_MOST:  # the client asks again over TCP
            reply = request.reply()
            reply.header.tc = 1
        return reply


def _key(name: str) -> str:
    """Returns a name in the form that `resolve` looks up: without the last dot, unusual characters
    escaped."""
    return str(DNSLabel(name)).rstrip(".").lower()


def _record(name: str, kind: str, value: Any) -> RR:
    if kind == "TXT":
        return RR(name, QTYPE.TXT, rdata=TXT(_strings(value)), ttl=60)
    (record,) = RR.fromZone(f"name. 60 IN {kind} {value}")
    record.rname = name
    return record


def _strings(value: str | tuple[str | bytes, ...]) -> list[bytes]:
    """Returns the strings of a TXT record, at least one (RFC 1035 3.3.14). Plain text is split
    where a string must end."""
    if isinstance(value, tuple):
        return [string if isinstance(string, bytes) else string.encode() for string in value or ("",)]
    text = value.encode()
    return [text[at : at + TXT_PIECE] for at in range(0, len(text), TXT_PIECE)] or [b""]
