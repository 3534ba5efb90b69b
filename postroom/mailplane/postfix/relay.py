"""The relay host, which takes all outbound mail: its name and port, how its certificate is checked,
and the password of the login there (decision 0284)."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from postroom.settings import BadSettings, Settings
from postroom.settings.values import check_form

SMTP, SMTPS = 25, 465
SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"
# Bounds what is read of a file that should have one line.
MOST_CHARACTERS = 4096
# Postfix's table of the login, which is root's own, below the data directory.
LOGIN = "postfix/relay_login"
# Where Debian's postfix-mta-sts-resolver answers Postfix (the package's default).
MTA_STS = "127.0.0.1:8461"
# Debian package -> a file in it. The first has what Postfix needs to log in anywhere.
PACKAGES = {"libsasl2-modules": "/usr/lib/*/sasl2/libplain.so", "ca-certificates": SYSTEM_CA}


@dataclass(frozen=True)
class Relay:
    """`destination` is what Postfix calls the relay host. Without brackets, the host's MX records
    name the machines."""

    destination: str
    host: str
    port: int
    user: str
    ca: str

    @property
    def has_mx(self) -> bool:
        return not self.destination.startswith("[")

    @property
    def is_address(self) -> bool:
        """Whether the relay host is an IP address, which no certificate names."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    @property
    def is_wrapped(self) -> bool:
        """Whether TLS begins with the connection (RFC 8314)."""
        return self.port == SMTPS

    @property
    def is_verified(self) -> bool:
        """Whether the certificate must name the relay host. Mail waits otherwise."""
        return bool(self.user or self.ca) and not self.is_address

    @property
    def tls_level(self) -> str:
        """The value of smtp_tls_security_level. A password, or a port for TLS, demands TLS."""
        if self.is_verified:
            return "secure"
        return "encrypt" if self.user or self.is_wrapped else "may"

    @property
    def authority(self) -> str:
        """The file of the certificates that vouch for the relay host."""
        return self.ca or SYSTEM_CA


def relay(settings: Settings) -> Relay | None:
    """Returns the relay host that is in force, or None if mail goes to the recipients' hosts."""
    if settings.outbound == "off" or not settings.relayhost:
        return None
    host, port = settings.relayhost, ""
    if host.startswith("["):
        host, _, port = host.removeprefix("[").partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = host.partition(":")
    name = host.lower().removeprefix("ipv6:")
    return Relay(settings.relayhost, name, int(port or SMTP), settings.relay_user, settings.relay_ca)


def packages(settings: Settings) -> dict[str, str]:
    """Returns the Debian packages that the relay host needs, each with a file in it."""
    found = relay(settings)
    needed = {"libsasl2-modules"} if found and found.user else set()
    needed |= {"ca-certificates"} if found and found.is_verified and not found.ca else set()
    needed |= {"ca-certificates"} if settings.outbound == "on" and settings.outbound_tls == "mta-sts" else set()
    return {package: path for package, path in PACKAGES.items() if package in needed}


def password(settings: Settings) -> str:
    """Returns the password of the login at the relay host. Raises BadSettings."""
    if not settings.relay_password_file:
        return settings.relay_password
    path = Path(settings.relay_password_file)
    try:
        with path.open(encoding="utf-8") as file:
            found = file.read(MOST_CHARACTERS).partition("\n")[0].removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadSettings(f"POSTROOM_RELAY_PASSWORD_FILE: {path}: {reason}.") from None
    if not found:
        raise BadSettings(f"POSTROOM_RELAY_PASSWORD_FILE: {path} has no password in its first line.")
    check_form("relay_password", found)
    return found


def login(settings: Settings) -> str:
    """Returns Postfix's table of the login at the relay host, empty without a login. Raises
    BadSettings."""
    found = relay(settings)
    if found is None or not found.user:
        return ""
    line = f"{found.destination} {found.user}:{password(settings)}"
    return f"# The login at the relay host. Postroom writes this file.\n{line}\n"


def values(settings: Settings) -> dict[str, object]:
    """Returns what main.cf has about outbound mail."""
    return {
        "relay": relay(settings),
        "outbound_tls": settings.outbound_tls,
        "mta_sts": MTA_STS,
        "system_ca": SYSTEM_CA,
    }
