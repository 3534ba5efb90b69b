"""The form of the settings' values. Each function raises BadSettings with one line for the
operator."""

import ipaddress
import re

from postroom.settings_file import BadSettings

PREFIX = "POSTROOM_"
# Services that mail clients connect to. Each has a local port and, behind a NAT, a public port.
CLIENT_SERVICES = ("imap", "imaps", "pop3", "pop3s", "sieve", "submission", "submissions")

PORT = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
# Required form of the settings that are copied into the daemons' files or into a socket call.
FORMATS = {
    "relayhost": (
        rf"(\[[A-Za-z0-9.:_-]+\]|[A-Za-z0-9._-]+)(:({PORT}))?",
        "use host:port, or [host]:port to skip its MX",
    ),
    "relay_user": (r"[^\s:]([^:]*[^\s:])?", "use a name without colons, and without spaces at its ends"),
    "relay_password": (r"\S(.*\S)?", "a password that begins or ends with a space cannot be used"),
    "resolver": (r"(\[[0-9A-Fa-f:]+\]|[0-9.]+):[0-9]{1,5}", "use address:port, like 127.0.0.1:53 or [::1]:53"),
    "node": (r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", "use up to 32 lower-case letters, digits and hyphens"),
    "rate_limit": (r"off|[1-9][0-9]{0,11}/(second|minute|hour|day)", "use off or a rate like 6000/minute"),
    "database_url": (r"(sqlite:///|postgresql://).*", "use sqlite:///path or postgresql://…"),
    "mail_database_url": (r"postgresql://.*", "use postgresql://…"),
    "filter_milter": (
        rf"inet:(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):({PORT})|unix:/[A-Za-z0-9._+@/-]+",
        "use inet:host:port, like inet:127.0.0.1:11332, or unix:/path",
    ),
    "public_url": (rf"https?://[A-Za-z0-9.-]+(:({PORT}))?/?", "use https://host, or https://host:port, without a path"),
    "relay_password_file": (r"/.+", "use the absolute path of a file"),
    "relay_ca": (r"/[A-Za-z0-9._+@/-]+", "use the absolute path of a file, of letters, digits and ._+@/-"),
    "filter_learn": (r"/[A-Za-z0-9._+@/-]+", "use the absolute path of a program, of letters, digits and ._+@/-"),
}


def variable(name: str) -> str:
    """Returns the environment variable of a setting."""
    return PREFIX + name.upper()


def check_form(name: str, value: object) -> None:
    """Refuses a value with a control character, and a value without the setting's form."""
    if re.search(r"[\x00-\x1f\x7f]", str(value)):
        raise BadSettings(f"{variable(name)} has a control character.")
    pattern, advice = FORMATS.get(name, ("", ""))
    if pattern and value and not re.fullmatch(pattern, str(value)):
        raise BadSettings(f"{variable(name)}: {advice}.")


def split(text: str) -> list[str]:
    """Returns the items of a setting that is a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def public_ports(text: str) -> list[tuple[str, int]]:
    """Returns the pairs (service, port) of `public_ports`; the port is 0 if it is not a number."""
    pairs = [part.partition("=") for part in split(text)]
    return [(name.strip(), int(port) if re.fullmatch(r" *[0-9]{1,5} *", port) else 0) for name, _, port in pairs]


def check_address(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise BadSettings(f"{text} is not an IP address (POSTROOM_HOST, POSTROOM_MAIL_HOST).") from None


def check_network(name: str, text: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise BadSettings(f"{variable(name)}: {text} is not a network.") from None


def check_relay(relayhost: str, user: str, password: str, password_file: str, authority: str) -> None:
    """Refuses values that only make sense together. A user without a password is not refused here:
    most processes do not get the password."""
    if (user or authority) and not relayhost:
        raise BadSettings("POSTROOM_RELAY_USER and POSTROOM_RELAY_CA need POSTROOM_RELAYHOST.")
    if (password or password_file) and not user:
        raise BadSettings("POSTROOM_RELAY_PASSWORD needs POSTROOM_RELAY_USER.")
    if password and password_file:
        raise BadSettings("Set POSTROOM_RELAY_PASSWORD or POSTROOM_RELAY_PASSWORD_FILE, not both.")
