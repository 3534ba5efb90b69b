"""The terminal output of `postroom serve`: steps with their times, one block when the service is
ready, then single lines.

The terminal may be closed later. A closed pipe must not end the service.
"""

import ipaddress
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.text import Text

from postroom.service.processes import Prepared, unshown_key
from postroom.settings import Settings
from postroom.tenants.send_limits import SendLimits

DEMO_USER = "user_123"
DEMO_LOCAL_PART = "billing"
WIDTH = 44


class _Output(Console):
    def on_broken_pipe(self) -> None:
        self.quiet = True

    def say(self, *parts: Text) -> None:
        with suppress(OSError):  # the terminal is gone
            self.print(Text.assemble(*parts))


class Terminal:
    """Prints colors on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._out = _Output(highlight=False, soft_wrap=True)

    def line(self, text: str) -> None:
        """Prints one plain line."""
        self._out.say(Text(text))

    def stopping(self) -> None:
        """Prints the line that follows a Ctrl-C. The terminal itself has printed ^C."""
        below = "\n" if self._out.is_terminal else ""
        self.line(f"{below}stopping … (press again to end everything at once)")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Prints the name and time of a step with a check mark, after the step is done."""
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        self._out.say(Text("✓ ", "green"), Text(f"{name:<{WIDTH}}"), Text(f" {took:6.2f} s", "dim"))

    def refuse(self, why: str) -> None:
        """Prints why the service cannot start, in one line."""
        self._out.say(Text("✗ ", "red"), Text(why))

    def warn(self, text: str) -> None:
        """Prints a problem that the operator should fix, but that does not stop the service."""
        self._out.say(Text("! ", "yellow"), Text(text))

    def block(self, settings: Settings, prepared: Prepared, with_postfix: bool, with_api: bool = True) -> None:
        """Prints everything that a developer needs to begin. The first API key counts as shown from
        now on."""
        another = f"`postroom keys create --organization {prepared.organization}` makes another"
        rows = [
            *([("API", settings.api_url), ("API docs", f"{settings.api_url}/docs")] if with_api else ()),
            *(_mail_rows(settings, with_postfix) if settings.mail == "on" else ()),
            *_demo_row(settings, prepared),
            *_limits_row(prepared.send_limits, prepared.organization),
            *([("Console", f"{settings.api_url}/")] if with_api else ()),
            ("API key", prepared.api_key or f"shown once, at the first start; {another}"),
        ]
        self._out.say()
        for name, value in rows:
            self._out.say(Text(f"  {name:<12}", "bold"), Text(value))
        self._out.say()
        if with_api and prepared.console_link:
            another = f"postroom console-link --organization {prepared.organization}"
            self._out.say(Text("Sign in to the console, once (another link: "), Text(another, "bold"), Text("):"))
            self._out.say(Text(console_link(settings, prepared.console_link)))
            self._out.say()
        if with_api:
            self._out.say(Text("Make a first mailbox:"))
            self._out.say(Text(curl(settings, prepared)))
            self._out.say()
        if prepared.api_key:
            unshown_key(settings).unlink(missing_ok=True)


def _demo_row(settings: Settings, prepared: Prepared) -> list[tuple[str, str]]:
    if not prepared.demo_domain:
        return []
    return [("Demo domain", f"{prepared.demo_domain} (active, {_reach(settings)}, outbound mail {settings.outbound})")]


def _limits_row(limits: SendLimits, organization: str) -> list[tuple[str, str]]:
    if not (words := limits.words()):
        return []
    change = f"`postroom limits set --organization {organization}` changes the limits"
    return [("Send limits", f"{words} for each account; {change}")]


def _reach(settings: Settings) -> str:
    """Returns who can send mail to the demo domain."""
    if settings.mail == "off":
        return "without mail"
    if all(ipaddress.ip_address(address).is_loopback for address in settings.listen_addresses):
        return "loopback only"
    return f"takes mail from all hosts at port {settings.smtp_port}"


def console_link(settings: Settings, token: str) -> str:
    """Returns the URL of a sign-in link. The part after the # stays in the browser, so no server or
    proxy logs it."""
    return f"{settings.api_url}/sign-in#link={token}"


def _mail_rows(settings: Settings, with_postfix: bool) -> list[tuple[str, str]]:
    host = ", ".join(settings.listen_addresses)
    reading = (
        f"IMAP {settings.imap_port}, IMAPS {settings.imaps_port}, POP3 {settings.pop3_port}, "
        f"POP3S {settings.pop3s_port}, ManageSieve {settings.sieve_port}"
    )
    sending = (
        f"SMTP {settings.smtp_port}, submission {settings.submission_port}, submissions {settings.submissions_port}"
    )
    return [
        ("Mail host", f"{host} ({settings.hostname})"),
        ("Reading", reading),
        ("Sending", sending if with_postfix else "off: Postfix needs root"),
    ]


def curl(settings: Settings, prepared: Prepared) -> str:
    """Returns a curl command, ready to paste, that makes the first account."""
    key = shlex.quote(f"x-api-key: {prepared.api_key}") if prepared.api_key else '"x-api-key: $API_KEY"'
    domain = prepared.demo_domain or "YOUR.DOMAIN"
    body = f'{{"domain":"{domain}","local_part":"{DEMO_LOCAL_PART}","user_id":"{DEMO_USER}"}}'
    return (
        f"curl -sS {settings.api_url}/v2/email-accounts/create \\\n"
        f"  -H {key} -H 'content-type: application/json' \\\n"
        f"  -d '{body}'"
    )
