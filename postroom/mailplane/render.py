"""Renders the configuration of the daemons as text, from the settings and the files in templates/.
Reads and writes no other files.

The policy is not here: the views decide who can log in, receive or send. A template says only which
view is asked, and when.
"""

import ipaddress
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from postroom.instance import digest_key
from postroom.mailplane.dovecot import sendmail
from postroom.mailplane.internal_addresses import (
    INBOX_DOMAIN,
    INTERNAL_DOMAIN,
    RECIPIENT_HEADER,
    SIGNING_HEADER,
    SPAM_HEADER,
)
from postroom.mailplane.postfix import node_policy, relay
from postroom.schema import look_ups
from postroom.settings import Settings

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = [Path(__file__).parent / daemon / "templates" for daemon in ("dovecot", "postfix", "opendkim")]
SENDMAIL = Path(sendmail.__file__)

# SQL that turns a client's text into an id. SQLite compares with the column's type. PostgreSQL must
# never cast a text that is not a number: the error would give a 4xx forever instead of "there is no
# such account".
IDS = {"sqlite": "'{}'", "pgsql": "CAST(substring('{}' FROM '^[0-9]{{1,18}}$') AS BIGINT)"}

# What Postfix asks for, by the column that it is compared with.
ASKED = {"name": "'%s'", "local_part": "'%u'", "domain": "'%d'"}

# Every look-up of Postfix: name -> (its result, query). A view stands for its rows with the values
# that Postfix asks for.
MAPS = {
    "domains": ("Domains that accept mail.", "SELECT name FROM {mail_domains}"),
    "aliases": ("The account of an address.", "SELECT target FROM {mail_aliases}"),
    # One table for both, because proxymap keeps a connection to PostgreSQL for each.
    "others": (
        "Who gets mail to postmaster and abuse, and addresses that no catch-all takes.",
        "SELECT target FROM {mail_roles} UNION ALL SELECT target FROM {mail_dead_ends}",
    ),
    # Without the second condition, the first look-up of Postfix, for the whole address with its
    # +tag, would find the catch-all.
    "catch_alls": (
        "The accounts that get mail to unknown addresses of a domain.",
        "SELECT target FROM {mail_catch_alls} AND '%s' = '@%d'",
    ),
    "recipients": ("Accounts that accept mail.", "SELECT id FROM {mail_recipients} AND '%d' = 'acct.internal'"),
    "verdicts": ("Whether an address takes mail.", "SELECT action FROM {mail_verdicts}"),
    "reserved": (
        "Names that nobody has and that take no mail.",
        "SELECT '550 5.1.1 User unknown in virtual mailbox table' FROM {mail_reserved}",
    ),
    "returns": (
        "Addresses that take no mail: mail from a Sieve script to them is returned.",
        "SELECT 'FILTER error:' || substr(action, 5) FROM {mail_refusals}",
    ),
    "senders": ("The login that may send as an address.", "SELECT login FROM {mail_senders}"),
    "ended_sessions": (
        "Ends a session whose login is no longer valid.",
        "SELECT '421 4.7.0 Session ended: log in again' WHERE NOT EXISTS (SELECT 1 FROM {mail_sessions})",
    ),
}

# Additional look-ups of a node: where the mail of an account is, if not on this node, and the
# answer to another node that does not know yet (decision 0273).
NODE_MAPS = {
    "routes": (
        "The node of a mailbox that is on another node.",
        "SELECT route FROM {mail_homes} AND '%d' IN ('acct.internal', 'inbox.acct.internal')"
        " AND (node <> {node} OR frozen = 1)",
    ),
    "departures": (
        "Mailboxes that are on another node.",
        "SELECT '450 4.2.1 The mailbox is on another node' FROM {mail_homes}"
        " AND '%d' IN ('acct.internal', 'inbox.acct.internal') AND node <> {node}",
    ),
}

PGSQL_MAPS = {"answers": ("Tests whether the database answers. Finds no row.", "SELECT 'REJECT' WHERE '%s' = ''")}

# Dovecot's default for auth_username_chars, and characters whose UTF-8 encodings together contain
# every non-ASCII byte that occurs in UTF-8.
USERNAME_CHARS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890.-_@"
BEYOND_ASCII = "".join(
    map(chr, [*range(0x80, 0xC0), *range(0xC0, 0x800, 0x40), 0x800, *range(0x1000, 0x10000, 0x1000)])
) + "".join(map(chr, [0x10000, 0x40000, 0x80000, 0xC0000, 0x100000]))
# Postfix's tables of patterns. Tables for whole messages are PCRE, which allows larger repeat
# counts and matches faster.
PATTERNS = (
    "addresses.regexp",
    "internal.regexp",
    "notices.regexp",
    "replies.regexp",
    "commands.pcre",
    "envelope_from.pcre",
    "envelope_from_own.pcre",
    "envelope_to.pcre",
    "headers_in.pcre",
    "headers_own.pcre",
    "lines_own.pcre",
    "relay_replies.pcre",
)

# The crossings of a quota that Dovecot reports: what is limited, at which percentage, and in which
# direction. The worker then counts the mail (accounts/quotas.py).
QUOTA_WARNINGS = [
    (resource, percent, direction)
    for percent, direction in ((100, "over"), (95, "over"), (80, "over"), (100, "under"), (75, "under"))
    for resource in ("storage", "message")
]

# Seconds that Postfix waits for the filter, at each stage except the end of a message. The first
# wait is before the greeting, which `probe.postfix` reads.
FILTER_SECONDS = 3

# Largest number of times that the scripts of an account forward one message.
MOST_REDIRECTS = 14

# Dovecot's services that are chrooted by default, which only root can do.
UNCHROOTED = (
    "anvil",
    "stats",
    "imap-login",
    "pop3-login",
    "managesieve-login",
    "submission-login",
    "imap-urlauth-login",
)


@dataclass(frozen=True)
class File:
    """One generated file. `owner` is the only user who may read the file; if it is empty, root owns
    the file and everyone may read it."""

    text: str
    mode: int = 0o644
    owner: str = ""


@dataclass(frozen=True)
class Peer:
    """Another node: where it accepts mail from nodes, and the name in its certificate."""

    address: str
    port: int
    host: str


@dataclass(frozen=True)
class OwnNode:
    """This machine as a node. `port` is the first of its four ports. Certificates and key are PEM.
    `bundle` has the certificates that this node trusts. `secret` is the password of the nodes'
    doveadm. `bind` is the address that this node connects from, if this machine has that address.
    `trusted` has the addresses of all trusted nodes, and `peers` the other nodes among them."""

    id: int
    host: str
    port: int
    certificate: str
    key: str
    bundle: str
    secret: str
    bind: str
    trusted: tuple[str, ...]
    peers: tuple[Peer, ...] = ()


@dataclass(frozen=True)
class Plane:
    """What the templates need besides the settings. Without root there is no Postfix and nothing to
    sign."""

    user: str
    group: str
    root: bool
    python: str
    doveadm_key: str
    # Which configuration Dovecot reads: 2.3 or 2.4.
    dovecot: str = "2.3"
    # PostgreSQL: libpq's parameters for the role of the daemons. None: SQLite.
    postgres: Mapping[str, str] | None = None
    node: OwnNode | None = None
    # Postfix's table of the login at the relay host; empty without a login.
    relay_login: str = ""

    @property
    def engine(self) -> str:
        return "sqlite" if self.postgres is None else "pgsql"

    @property
    def maps(self) -> dict[str, tuple[str, str]]:
        return MAPS | (PGSQL_MAPS if self.postgres else {}) | (NODE_MAPS if self.node else {})


def tls_paths(settings: Settings) -> tuple[Path, Path]:
    """Returns the certificate and key in force: the operator's, else the self-signed pair in the
    data directory."""
    if settings.tls_cert:
        return Path(settings.tls_cert).absolute(), Path(settings.tls_key).absolute()
    return settings.data / "tls" / "cert.pem", settings.data / "tls" / "key.pem"


def database_path(settings: Settings) -> Path:
    """Returns the path of the SQLite file."""
    return Path(settings.database.removeprefix("sqlite:///")).absolute()


def milter_path(settings: Settings) -> Path:
    """Returns the socket on which opendkim receives the mail that it signs."""
    return settings.data / "opendkim" / "socket" / "milter"


def judge_path(settings: Settings, listener: str = "submission") -> Path:
    """Returns the socket on which Postroom's milter checks the messages of a Postfix listener."""
    return settings.data / "milter" / "socket" / listener


def configuration(settings: Settings, plane: Plane) -> dict[str, File]:
    """Returns every generated file by its path below the data directory."""
    environment = _environment(settings, plane.engine)
    values = _values(settings, plane)

    def render(template: str, **more: object) -> str:
        return environment.get_template(template).render(values, **more)

    files = {
        "dovecot/dovecot.conf": File(render(f"dovecot-{plane.dovecot}.conf.j2")),
        "dovecot/auth.lua": File(render("auth.lua.j2", refused=False)),
        "dovecot/refused.lua": File(render("auth.lua.j2", refused=True)),
        "dovecot/before.sieve": File(render("before.sieve.j2")),
        "dovecot/hidden.sieve": File(render("hidden.sieve.j2")),
        "dovecot/quota-warning": File(render("quota-warning.j2"), 0o755),
        "run/doveadm.key": File(plane.doveadm_key, 0o600, plane.user),
    }
    if plane.dovecot == "2.3":
        files["dovecot/scripts.conf.ext"] = File(render("scripts.conf.ext.j2"))
        files["dovecot/folders.acl"] = File(render("folders.acl.j2"))
    else:
        files["dovecot/none.sieve"] = File("# For an account without rules.\n")
    if plane.root:
        files["dovecot/sendmail"] = File(render("sendmail.j2"), 0o755)
        files |= {f"postfix/{name}": File(text) for name, text in _postfix(plane, render)}
        if plane.relay_login:
            files[relay.LOGIN] = File(plane.relay_login, 0o600, "root")
        files["opendkim/opendkim.conf"] = File(render("opendkim.conf.j2"))
        files["opendkim/sign.lua"] = File(render("sign.lua.j2"))
        files["opendkim/signed.lua"] = File(render("signed.lua.j2"))
    if settings.filter_learn:
        files["dovecot/learn"] = File(render("learn.j2"), 0o755)
        files |= {f"dovecot/learn-{kind}.sieve": File(render("learn.sieve.j2", kind=kind)) for kind in ("spam", "ham")}
    return files | dict(_services(settings, plane)) | dict(_node_files(plane))


def _postfix(plane: Plane, render: Callable[..., str]) -> Iterator[tuple[str, str]]:
    for name in ("main.cf", "master.cf", *PATTERNS):
        yield name, render(f"{name}.j2")
    values = ASKED | {"id": IDS[plane.engine].format("%u")}
    found = {
        view: look_ups.rows(view, values, has_functions=bool(plane.postgres))
        for view, keys in look_ups.KEYS.items()
        if keys.keys() <= values.keys()
    }
    for name, (meaning, query) in plane.maps.items():
        query = query.format(node=plane.node.id if plane.node else 0, **found)
        yield f"{name}.cf", render("map.cf.j2", name=name, meaning=meaning, query=query)


def _node_files(plane: Plane) -> Iterator[tuple[str, File]]:
    if plane.node:
        yield "tls/nodes.pem", File(plane.node.bundle)
        yield "tls/node.pem", File(plane.node.certificate)
        yield "tls/node.key", File(plane.node.key, 0o600, "root" if plane.root else plane.user)
        if plane.root:
            yield "postfix/nodes", File(node_policy.table(map(astuple, plane.node.peers)))


def service_path(settings: Settings, daemon: str) -> Path:
    """Returns the path of a daemon's libpq service file, which has the database's password
    (decision 0091). Postfix's own folder may only have files of root (decision 0205)."""
    if daemon == "postfix":
        return settings.data / "run" / "postfix-database.conf"
    return settings.data / daemon / "database.conf"


def _services(settings: Settings, plane: Plane) -> Iterator[tuple[str, File]]:
    """Yields the service file for each daemon. The files are equal, but each daemon reads its own
    as another user."""
    if plane.postgres is None:
        return
    text = "\n".join(["[postroom]", *(f"{name}={value}" for name, value in plane.postgres.items()), ""])
    readers = {"dovecot": plane.user}
    if plane.root:
        readers |= {"postfix": "postfix", "opendkim": plane.user}
    for daemon, reader in readers.items():
        yield str(service_path(settings, daemon).relative_to(settings.data)), File(text, 0o600, reader)


def _environment(settings: Settings, engine: str) -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(  # noqa: S701 - these are configuration files, not HTML
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {
        "spam_header": SPAM_HEADER,
        "recipient_header": RECIPIENT_HEADER,
        "filter_seconds": FILTER_SECONDS,
    }
    environment.globals["digest_key_name"] = digest_key.NAME
    environment.globals["rows"] = lambda view, **values: look_ups.rows(view, values, has_functions=engine == "pgsql")
    environment.filters["host"] = bracketed
    environment.filters["quote"] = shlex.quote
    environment.filters["regexp"] = re.escape
    environment.filters["map_path"] = lambda name: f"proxy:{engine}:{settings.data}/postfix/{name}.cf"
    return environment


def _values(settings: Settings, plane: Plane) -> dict[str, object]:
    certificate, key = tls_paths(settings)
    addresses = settings.listen_addresses
    return {
        "data": settings.data,
        "database": database_path(settings),
        "postgres": plane.postgres,
        "engine": plane.engine,
        "dovecot": plane.dovecot,
        "service_path": lambda daemon: service_path(settings, daemon),
        "internal": INTERNAL_DOMAIN,
        "inbox": INBOX_DOMAIN,
        "signing_header": SIGNING_HEADER,
        "hostname": settings.hostname,
        "redirects": MOST_REDIRECTS,
        "addresses": addresses,
        "protocols": "all" if any(":" in address for address in addresses) else "ipv4",
        "message_size": settings.message_size,
        "outbound": settings.outbound == "on",
        **relay.values(settings),
        "tls_cert": certificate,
        "tls_key": key,
        "maps": list(plane.maps),
        "node": plane.node,
        "node_addresses": node_addresses(settings, plane.node),
        "unchrooted": UNCHROOTED,
        "quota_warnings": QUOTA_WARNINGS,
        "user": plane.user,
        "group": plane.group,
        "root": plane.root,
        "python": plane.python,
        "username_chars": USERNAME_CHARS + BEYOND_ASCII,
        "script": str(SENDMAIL),
        "milter": milter_path(settings),
        "judges": judge_path(settings).parent,
        "sockets": f"{settings.data}/spool/public",
        "sendmail": f"{settings.data}/dovecot/sendmail" if plane.root else "/bin/false",
        **{name: getattr(settings, name) for name in settings.__struct_fields__ if re.search("_port$|^filter_", name)},
    }


def node_addresses(settings: Settings, node: OwnNode | None) -> list[str]:
    """Returns the addresses on which this node listens for the other nodes: the address at which
    they reach it, or all listen addresses if that address belongs to a router."""
    return [node.bind] if node and node.bind else settings.listen_addresses


def bracketed(address: str) -> str:
    """Returns an address in the form that comes before `:port`."""
    return f"[{address}]" if ":" in address else address


def reachable(address: str) -> str:
    """Returns the address to connect to for a listener on `address`."""
    parsed = ipaddress.ip_address(address)
    if not parsed.is_unspecified:
        return address
    return "127.0.0.1" if parsed.version == 4 else "::1"
