"""The settings. Each has a type and one default, and is documented where it is declared.

The value of a setting comes from `POSTROOM_<NAME>` in the environment, else from the settings file
(settings_file.py; lower-case names), else from the default. An empty value means "not set". An
unknown name is an error.
"""

import difflib
import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from postroom import settings_file
from postroom.address import BadAddress, parse_host
from postroom.mail_host import MailHost
from postroom.settings.values import (
    CLIENT_SERVICES,
    PREFIX,
    check_address,
    check_form,
    check_network,
    check_relay,
    public_ports,
    split,
    variable,
)
from postroom.settings_file import FILE, BadSettings

__all__ = [
    "FILE",
    "PREFIX",
    "BadSettings",
    "Settings",
    "file_of",
    "from_environment",
    "load",
    "open_secrets",
    "split",
    "variable",
]

SYSTEM_DATA = Path("/var/lib/postroom/data")
# POSTROOM_* variables that are not settings. Programs that call Postroom use the first two
# (`postroom env` prints POSTROOM_URL). The passphrase is a secret that is in no file.
PASSPHRASE = "POSTROOM_BACKUP_PASSPHRASE"  # noqa: S105
CLIENT_VARIABLES = ("POSTROOM_URL", "POSTROOM_API_KEY", PASSPHRASE, settings_file.VARIABLE)
PORTS = (
    "port",
    "imap_port",
    "imaps_port",
    "pop3_port",
    "pop3s_port",
    "sieve_port",
    "smtp_port",
    "submission_port",
    "submissions_port",
)

Port = Annotated[int, Meta(ge=1, le=65535)]
Switch = Literal["on", "off"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an operator can configure."""

    data: Annotated[Path, Meta(description="Directory of all data. As root, /var/lib/postroom/data.")] = Path("data")
    host: Annotated[str, Meta(description="Address that the API listens on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port of the API.")] = 3000
    database_url: Annotated[
        str, Meta(description="Empty: SQLite in the data directory. Or `sqlite:///path`, `postgresql://…`.")
    ] = ""
    mail_database_url: Annotated[
        str, Meta(description="PostgreSQL URL of the mail daemons. Empty: they use a role that Postroom makes.")
    ] = ""
    mail: Annotated[Switch, Meta(description="`off` runs the API without Dovecot and Postfix.")] = "on"
    mail_host: Annotated[
        str, Meta(description="Addresses that the mail ports listen on, IPv4 or IPv6, separated by commas.")
    ] = "127.0.0.1"
    hostname: Annotated[
        str,
        Meta(description="Name of the mail host, in the SMTP banner and the certificate; the operator's own domain."),
    ] = "mail.postroom.test"
    outbound: Annotated[
        Switch, Meta(description="`off` refuses mail to other hosts at submission; `on` delivers it.")
    ] = "off"
    relayhost: Annotated[
        str, Meta(description="`host:port` that takes outbound mail. Empty: deliver to the recipient's MX.")
    ] = ""
    relay_user: Annotated[str, Meta(description="Name of the login at `relayhost`. Empty: no login.")] = ""
    relay_password: Annotated[str, Meta(description="Password of `relay_user`. Or use the next setting.")] = ""
    relay_password_file: Annotated[
        str, Meta(description="File with the password of `relay_user` in its first line.")
    ] = ""
    relay_ca: Annotated[
        str, Meta(description="File of the PEM certificates that vouch for `relayhost`. Empty: the system's.")
    ] = ""
    outbound_tls: Annotated[
        Literal["may", "dane", "mta-sts"],
        Meta(description="TLS to recipients' hosts: `may` if offered; `dane` or `mta-sts` as their domain demands."),
    ] = "may"
    tls_cert: Annotated[
        str, Meta(description="File of the PEM certificate chain. Empty: Postroom makes a self-signed one.")
    ] = ""
    tls_key: Annotated[str, Meta(description="File of the PEM private key of `tls_cert`.")] = ""
    message_size: Annotated[
        int, Meta(ge=65536, le=2**31 - 1, description="Size of the largest accepted message, in bytes.")
    ] = 50 * 1024 * 1024
    purge_days: Annotated[
        int,
        Meta(
            ge=0,
            le=3650,
            description="Days that a deleted account can be restored until its mail is erased; 0: erased at once.",
        ),
    ] = 7
    events_days: Annotated[int, Meta(ge=0, le=36500, description="Days that events are kept; 0: forever.")] = 400
    degraded_days: Annotated[
        int,
        Meta(
            ge=1, le=3650, description="Days of failing checks after which a domain whose DNS leads elsewhere is lost."
        ),
    ] = 30
    resolver: Annotated[
        str, Meta(description="`address:port` of the DNS server that checks domains. Empty: the system's resolver.")
    ] = ""
    trusted_proxies: Annotated[
        str, Meta(description="Networks whose X-Forwarded-For is believed, separated by commas.")
    ] = ""
    trusted_forwarders: Annotated[
        str,
        Meta(description="Networks that may send as hosted domains on port 25 without proof, such as a mail gateway."),
    ] = ""
    login_account_failures: Annotated[
        int,
        Meta(ge=0, description="Wrong passwords in an hour that close an account to unknown addresses; 0: never."),
    ] = 100
    login_address_failures: Annotated[
        int, Meta(ge=0, description="Wrong passwords in 10 minutes that ban an address; 0: never.")
    ] = 20
    login_proxies: Annotated[
        str, Meta(description="Networks of webmails, which are never banned as addresses, separated by commas.")
    ] = ""
    filter_milter: Annotated[
        str, Meta(description="Spam filter for mail from outside, as `inet:host:port` or `unix:/path`. Empty: none.")
    ] = ""
    filter_learn: Annotated[
        str, Meta(description="Program that learns from mail moved to or from Junk. Empty: nothing is learned.")
    ] = ""
    workers: Annotated[int, Meta(ge=1, le=64, description="Number of API processes.")] = 1
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least severe level that is logged.")
    ] = "info"
    rate_limit: Annotated[str, Meta(description="`off`, or the calls that a key may make, such as `6000/minute`.")] = (
        "6000/minute"
    )
    imap_port: Annotated[Port, Meta(description="IMAP with STARTTLS.")] = 1143
    imaps_port: Annotated[Port, Meta(description="IMAP over TLS.")] = 1993
    pop3_port: Annotated[Port, Meta(description="POP3 with STARTTLS.")] = 1110
    pop3s_port: Annotated[Port, Meta(description="POP3 over TLS.")] = 1995
    sieve_port: Annotated[Port, Meta(description="ManageSieve (RFC 5804) with STARTTLS.")] = 4190
    smtp_port: Annotated[Port, Meta(description="SMTP for inbound mail.")] = 1025
    submission_port: Annotated[Port, Meta(description="Submission (RFC 6409) with STARTTLS.")] = 1587
    submissions_port: Annotated[Port, Meta(description="Submission over TLS (RFC 8314).")] = 1465
    node: Annotated[
        str, Meta(description="Name of this machine among several (`postroom nodes add`). Empty: one machine.")
    ] = ""
    webhook_allow: Annotated[
        Literal["global", "private"],
        Meta(description="`private` lets webhooks reach private addresses, by plain http or any certificate too."),
    ] = "global"
    owner_page: Annotated[Switch, Meta(description="`off` switches the page of account owners, `/me`, off.")] = "on"
    metrics: Annotated[
        Literal["key", "loopback"],
        Meta(
            description="`key`: /metrics needs a key with `metrics:read`; `loopback`: programs on this host need none."
        ),
    ] = "key"
    public_url: Annotated[
        str, Meta(description="Where people reach the API, such as `https://api.example.com`: the base of setup links.")
    ] = ""
    public_ports: Annotated[
        str, Meta(description="Public ports that differ from the local ports, such as `imaps=993,submission=587`.")
    ] = ""

    @property
    def listen_addresses(self) -> list[str]:
        """The addresses of `mail_host`, without brackets."""
        return [part.strip().strip("[]") for part in self.mail_host.split(",") if part.strip()]

    @property
    def database(self) -> str:
        """The URL in force: `sqlite:///<path>` or `postgresql://…`."""
        return self.database_url or f"sqlite:///{self.data / 'db' / 'postroom.db'}"

    @property
    def is_sqlite(self) -> bool:
        return self.database.startswith("sqlite:///")

    @property
    def api_url(self) -> str:
        """Where a client on this machine reaches the API: a wildcard address is no destination."""
        host = self.host
        if ipaddress.ip_address(host).is_unspecified:
            host = "::1" if ":" in host else "127.0.0.1"
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}"

    @property
    def public_base(self) -> str:
        """The base of links for people, without a slash at its end: never taken from a request."""
        return self.public_url.rstrip("/") or self.api_url

    @property
    def dns_host(self) -> MailHost:
        """The mail host that DNS records of managed domains point to and that mail clients use."""
        ports: dict[str, Any] = {f"{name}_port": getattr(self, f"{name}_port") for name in CLIENT_SERVICES}
        ports |= {f"{name}_port": port for name, port in public_ports(self.public_ports)}
        return MailHost(self.hostname, **ports, sts_mode="enforce" if self.tls_cert else "testing")

    def environment(self) -> dict[str, str]:
        """These settings as environment variables, for the processes that we start: without the
        password of the relay host, which only the process that writes Postfix's files needs."""
        return {variable(name): str(getattr(self, name)) for name in self.__struct_fields__ if name != "relay_password"}


def load(environ: Mapping[str, str] = os.environ, folder: Path | None = None) -> Settings:
    """Returns the settings from the environment and the settings file. Raises BadSettings.

    If `folder` is given, the settings file is looked for only there.
    """
    path = file_of(environ, folder)
    settings = _settings((_from_file(path) if path else {}) | _from_environment(environ))
    if settings.relay_user and not (settings.relay_password or settings.relay_password_file):
        raise BadSettings("POSTROOM_RELAY_USER needs POSTROOM_RELAY_PASSWORD or POSTROOM_RELAY_PASSWORD_FILE.")
    return settings


def from_environment(environ: Mapping[str, str] = os.environ) -> Settings:
    """Returns the settings from the environment alone, for the processes that Postroom starts.
    Raises BadSettings."""
    return _settings(_from_environment(environ))


def _settings(values: dict[str, Any]) -> Settings:
    if "data" not in values:
        values["data"] = str(SYSTEM_DATA if os.geteuid() == 0 else (settings_file.checkout() or Path.cwd()) / "data")
    try:
        settings = msgspec.convert(values, Settings, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise BadSettings(_explain(str(error))) from None
    _check(settings)
    return msgspec.structs.replace(settings, data=_absolute(settings.data), hostname=_hostname(settings.hostname))


def file_of(environ: Mapping[str, str] = os.environ, folder: Path | None = None) -> Path | None:
    """Returns the settings file that `load` reads, or None. Raises BadSettings."""
    if folder is None:
        return settings_file.find(environ)
    return folder / FILE if (folder / FILE).is_file() else None


def open_secrets(group: int | None, environ: Mapping[str, str] = os.environ) -> str | None:
    """Returns a one-sentence warning if the settings file contains a password and others can read
    the file, else None.

    `group` is the id of the system user's group, which may read the file.
    """
    path = file_of(environ)
    if path is None or not any(settings_file.is_secret(name, value) for name, value in _from_file(path).items()):
        return None
    return settings_file.readers(path, group)


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for key, value in environ.items():
        if key.startswith(PREFIX) and key not in CLIENT_VARIABLES:
            name = key.removeprefix(PREFIX).lower()
            if name not in Settings.__struct_fields__ or key != key.upper():
                raise BadSettings(f"{key} is not a setting.{_nearest(name, variable)}")
            if value:
                found[name] = value
    return found


def _from_file(path: Path) -> dict[str, Any]:
    values = settings_file.read(path)
    for name in values:
        if name not in Settings.__struct_fields__:
            raise BadSettings(f"{path}: {name} is not a setting.{_nearest(name, str)}")
    return {name: value for name, value in values.items() if value != ""}


def _nearest(name: str, spell: Any) -> str:
    near = difflib.get_close_matches(name.lower(), Settings.__struct_fields__, n=1, cutoff=0.5)
    return f" Did you mean {spell(near[0])}?" if near else " docs/settings.md lists them."


def _decode(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"Expected `path`, got `{type(value).__name__}`")


def _explain(message: str) -> str:
    problem, _, where = message.partition(" - at `$.")
    return f"{variable(where.rstrip('`'))}: {problem}." if where else message


def _check(settings: Settings) -> None:
    for name in settings.__struct_fields__:
        check_form(name, getattr(settings, name))
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise BadSettings("POSTROOM_TLS_CERT and POSTROOM_TLS_KEY belong together: set both or neither.")
    if settings.node and settings.is_sqlite:
        raise BadSettings("POSTROOM_NODE needs PostgreSQL: set POSTROOM_DATABASE_URL. SQLite is for one machine.")
    if settings.node and settings.mail == "off":
        raise BadSettings("POSTROOM_NODE needs POSTROOM_MAIL=on: every node reaches the mailboxes of the others.")
    for name, port in public_ports(settings.public_ports):
        if name not in CLIENT_SERVICES or not 1 <= port <= 65535:
            services = ", ".join(CLIENT_SERVICES)
            raise BadSettings(f"POSTROOM_PUBLIC_PORTS: use pairs like imaps=993, of {services} and a port.")
    calls = settings.rate_limit.partition("/")[0]
    if calls.isdigit() and int(calls) < settings.workers:
        raise BadSettings(
            "POSTROOM_RATE_LIMIT is shared by POSTROOM_WORKERS processes: allow at least one call for each."
        )
    check_relay(
        settings.relayhost,
        settings.relay_user,
        settings.relay_password,
        settings.relay_password_file,
        settings.relay_ca,
    )
    if settings.relayhost and settings.outbound_tls != "may":
        raise BadSettings("POSTROOM_OUTBOUND_TLS is about the recipients' hosts: leave it out with POSTROOM_RELAYHOST.")
    _check_network(settings)


def _check_network(settings: Settings) -> None:
    if not settings.listen_addresses:
        raise BadSettings("POSTROOM_MAIL_HOST has no address; POSTROOM_MAIL=off runs without mail.")
    if len(set(settings.listen_addresses)) < len(settings.listen_addresses):
        raise BadSettings("POSTROOM_MAIL_HOST has the same address twice.")
    for address in [settings.host, *settings.listen_addresses]:
        check_address(address)
    for name in ("trusted_proxies", "trusted_forwarders", "login_proxies"):
        for network in split(getattr(settings, name)):
            check_network(name, network)
    taken: dict[int, str] = {}
    for name in PORTS:
        port = getattr(settings, name)
        if port in taken:
            raise BadSettings(f"{variable(name)} and {variable(taken[port])} are both {port}.")
        taken[port] = name


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise BadSettings("POSTROOM_DATA: there is no such home directory.") from None


def _hostname(text: str) -> str:
    try:
        return parse_host(text)
    except BadAddress as error:
        raise BadSettings(f"POSTROOM_HOSTNAME: {error.message}") from None
