"""Generates the client's shapes from the server's structs: `.venv/bin/python -m
tests.client.make`."""

import inspect
import subprocess
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from postroom.accounts.alias_resolution import Resolution
from postroom.accounts.protocols import Protocols
from postroom.accounts.sent_counts import Sent
from postroom.api import message_sending
from postroom.api.endpoints import (
    accounts,
    aliases,
    app_passwords,
    availability,
    client_settings,
    delivery_rules,
    dkim,
    domain_views,
    domains,
    events,
    health,
    keys,
    limits,
    mail_tokens,
    mailboxes,
    message_edits,
    messages,
    sent_mail,
    setup_links,
    stats,
    users,
    verification,
    webhook_deliveries,
    webhooks,
)
from postroom.api.endpoints.account_views import FullAccount
from postroom.api.projections import TIMES
from postroom.domains.client_settings import Server
from postroom.domains.dns_records import Record
from postroom.mailboxes.interface import OpenSession
from postroom.messages import sync
from postroom.messages.interface import Mailbox
from postroom.messages.pages import ListedMessage
from postroom.messages.parsed import Authentication, MailAddress
from postroom.messages.shown import ShownAttachment, ShownMessage
from postroom.tenants.limits import Limits
from postroom.tenants.send_limits import SendLimits, SendTotals
from postroom.tenants.usage import Count
from postroom.webhooks.deliveries import DeliveredMessage

FOLDER = Path(__file__).parent.parent.parent / "postroom" / "client"
HEAD = '''"""The answers of the API as the client returns them: accounts and domains with all fields, times as
`datetime`.

Generated from the server's structs by tests/client/make.py (decision 0194): do not edit.
"""

from datetime import datetime
from typing import Any

from postroom.client.limit_shapes import SendLimits, Sent
from postroom.client.shape import Shape
'''

HEAD_OF_LIMITS = '''"""The answers of the API about limits, as the client returns them.

Generated from the server's structs by tests/client/make.py (decision 0194): do not edit.
"""

from postroom.client.shape import Shape
'''

HEAD_OF_CREDENTIALS = '''"""The answers of the API about app passwords, setup links and mail tokens.

Generated from the server's structs by tests/client/make.py (decision 0194): do not edit.
"""

from datetime import datetime

from postroom.client.shape import Shape
from postroom.client.shapes import MailServer
'''

HEAD_OF_MAIL = '''"""The answers of the API about sent mail, as the client returns them.

Generated from the server's structs by tests/client/make.py (decision 0194): do not edit.
"""

from datetime import date, datetime

from postroom.client.shape import Shape
'''

HEAD_OF_MESSAGES = '''"""The answers of the API about messages, as the client returns them.

Generated from the server's structs by tests/client/make.py (decision 0194): do not edit.
"""

from datetime import datetime

from postroom.client.shape import Shape
'''

HEAD_OF_WEBHOOKS = '''"""The answers of the API about webhooks, as the client returns them.

Generated from the server's structs by tests/client/make.py (decision 0194): do not edit.
"""

from datetime import datetime

from postroom.client.shape import Shape
'''


@dataclass(frozen=True)
class Source:
    """The server's struct of a shape; types that differ from the struct's; fields that the client
    leaves out; and a docstring where the server's does not suit the client."""

    kind: type[msgspec.Struct]
    types: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    doc: str | None = None

    def fields(self) -> dict[str, msgspec.structs.FieldInfo]:
        """The fields of the shape, by their names in the JSON."""
        every = {found.encode_name: found for found in msgspec.structs.fields(self.kind)}
        return {name: found for name, found in every.items() if name not in self.left_out}


SETUP = {"setup_url": "str | None = None", "setup_expires_at": "datetime | None = None"}  # only of a setup link
# A shape comes after the shapes of its fields.
SOURCES: dict[str, Source] = {
    "SendLimits": Source(SendLimits),
    "SendTotals": Source(SendTotals),
    "Sent": Source(Sent),
    "Protocols": Source(Protocols),
    "Account": Source(FullAccount, doc=""),
    "Availability": Source(availability.AvailableAnswer),
    "UserProgress": Source(users.UserAnswer),
    "Usage": Source(mailboxes.UsageAnswer),
    "OpenSession": Source(OpenSession),
    "OpenSessions": Source(mailboxes.SessionsAnswer),
    "MailServer": Source(Server),
    "ClientSettings": Source(client_settings.SettingsAnswer),
    "AccountWithPassword": Source(
        accounts.SecretAnswer, {"account": "Account"} | SETUP, doc="Only this call's answer has the password."
    ),
    "SetupLink": Source(setup_links.LinkAnswer),
    "SetupLook": Source(setup_links.LookAnswer),
    "SetupDone": Source(setup_links.AcceptAnswer),
    "MailToken": Source(mail_tokens.MailTokenAnswer),
    "ShownAccount": Source(accounts.AccountAnswer, {"account": "Account"}),
    "DeletedAccount": Source(accounts.DeletedAnswer, {"deleted": "Account"}, ("ok",)),
    "Alias": Source(aliases.ShownAlias),
    "ShownAliasAnswer": Source(aliases.AliasAnswer, {"alias": "Alias"}),
    "AliasName": Source(aliases.DeletedAlias),
    "DeletedAlias": Source(aliases.DeletedAliasAnswer, {"deleted": "AliasName"}, ("ok",)),
    "AppPassword": Source(app_passwords.ShownAppPassword),
    "AppPasswordWithSecret": Source(
        app_passwords.CreatedAppPasswordAnswer,
        {"app_password": "AppPassword"},
        doc="Only this call's answer has the password.",
    ),
    "AppPasswords": Source(app_passwords.AppPasswordsAnswer, {"app_passwords": "list[AppPassword]"}),
    "AppPasswordName": Source(app_passwords.DeletedAppPassword),
    "DeletedAppPassword": Source(app_passwords.DeletedAppPasswordAnswer, {"deleted": "AppPasswordName"}, ("ok",)),
    "Resolution": Source(Resolution),
    "Forwarding": Source(delivery_rules.ShownForwarding),
    "ForwardingAnswer": Source(delivery_rules.ForwardingAnswer, left_out=("account",)),
    "Vacation": Source(delivery_rules.ShownVacation),
    "VacationAnswer": Source(delivery_rules.VacationAnswer, left_out=("account",)),
    "DomainName": Source(domain_views.ShownDomain),
    "Domain": Source(domain_views.FullDomain, doc=""),
    "Record": Source(Record),
    "CheckedRecord": Source(verification.CheckedRecord),
    "InboundRoute": Source(domain_views.InboundRoute),
    "MailExchanger": Source(domain_views.MailExchanger),
    "DomainInfo": Source(domain_views.DomainInfo, {"domain": "Domain"}),
    "CreatedDomain": Source(domains.CreatedDomainAnswer, left_out=("message",)),
    "DomainChecked": Source(verification.VerifiedAnswer),
    "DeletedDomain": Source(domains.DeletedDomainAnswer, left_out=("ok",)),
    "RouteSet": Source(domains.RouteAnswer, left_out=("domain",)),
    "Consent": Source(domains.ConsentAnswer, left_out=("ok",)),
    "DkimRecord": Source(dkim.DkimItem, {"remove_after": "datetime | None"}),
    "DomainKeys": Source(dkim.RotateAnswer),
    "Key": Source(keys.ShownKey),
    "KeyWithSecret": Source(keys.CreatedKeyAnswer, doc="Only this call's answer has the key itself, `api_key`."),
    "KeyName": Source(keys.DeletedKey),
    "DeletedKey": Source(keys.DeletedKeyAnswer, left_out=("ok",)),
    "Event": Source(events.ShownEvent),
    "SentRecipient": Source(sent_mail.ShownSentRecipient),
    "SentDay": Source(sent_mail.ShownSentDay, {"day": "date"}),
    "SentDays": Source(sent_mail.SentDaysAnswer),
    "Mailbox": Source(Mailbox),
    "Mailboxes": Source(messages.MailboxesAnswer),
    "MailAddress": Source(MailAddress),
    "MessageAuthentication": Source(Authentication),
    "Attachment": Source(ShownAttachment),
    "ListedMessage": Source(ListedMessage, {"date": "datetime | None"}),
    "Message": Source(ShownMessage, {"date": "datetime | None"}),
    "ShownMessageAnswer": Source(messages.MessageAnswer),
    "SentMessage": Source(message_sending.SentMessage),
    "SentMessageAnswer": Source(message_sending.SentMessageAnswer),
    "EditedMessage": Source(message_edits.EditedMessage),
    "ShownEditedMessageAnswer": Source(message_edits.EditedMessageAnswer),
    "DeletedMessage": Source(message_edits.DeletedMessage),
    "DeletedMessages": Source(message_edits.DeletedMessagesAnswer),
    "Added": Source(sync.Added),
    "Updated": Source(sync.Updated),
    "Removed": Source(sync.Removed),
    "Changes": Source(sync.Changes),
    "Synced": Source(sync.Synced),
    "Webhook": Source(webhooks.ShownWebhook),
    "WebhookWithSecret": Source(webhooks.CreatedWebhookAnswer, doc="Only this call's answer has the secret."),
    "ShownWebhookAnswer": Source(webhooks.WebhookAnswer),
    "WebhookName": Source(webhooks.DeletedWebhook),
    "WebhookMessage": Source(DeliveredMessage),
    "WebhookDelivery": Source(webhook_deliveries.ShownDelivery),
    "WebhookReplay": Source(webhook_deliveries.ReplayAnswer),
    "WebhookAttempt": Source(webhook_deliveries.ShownAttempt),
    "WebhookTest": Source(webhook_deliveries.TestAnswer),
    "DeletedWebhook": Source(webhooks.DeletedWebhookAnswer, left_out=("ok",)),
    "LimitNumbers": Source(Limits),
    "Limits": Source(limits.LimitsAnswer, doc="The limits of a user or of an organization; None means no limit."),
    "AccountCount": Source(Count),
    "DomainCount": Source(stats.DomainCount),
    "Stats": Source(stats.StatsAnswer, left_out=("limit", "offset")),
    "Alive": Source(health.Alive),
    "Readiness": Source(health.Ready),
}
NAMES = {source.kind: name for name, source in SOURCES.items()}
OF_LIMITS = ["SendLimits", "SendTotals", "Sent", "LimitNumbers", "Limits"]
OF_MAIL = ["SentRecipient", "SentDay", "SentDays"]
OF_MESSAGES = ["Mailbox", "Mailboxes", "MailAddress", "MessageAuthentication", "Attachment", "ListedMessage"]
OF_MESSAGES += ["Message", "ShownMessageAnswer", "EditedMessage", "ShownEditedMessageAnswer", "DeletedMessage"]
OF_MESSAGES += ["DeletedMessages", "Added", "Updated", "Removed", "Changes", "Synced", "SentMessage"]
OF_MESSAGES += ["SentMessageAnswer"]
OF_WEBHOOKS = [name for name in SOURCES if "Webhook" in name]
OF_CREDENTIALS = [name for name in SOURCES if "AppPassword" in name or name.startswith("Setup")]
OF_CREDENTIALS += ["MailToken"]


def modules() -> dict[Path, str]:
    """The source of each module of shapes."""
    others = {*OF_CREDENTIALS, *OF_LIMITS, *OF_MAIL, *OF_MESSAGES, *OF_WEBHOOKS}
    return {
        FOLDER / "shapes.py": _text(HEAD, [name for name in SOURCES if name not in others]),
        FOLDER / "limit_shapes.py": _text(HEAD_OF_LIMITS, OF_LIMITS),
        FOLDER / "mail_shapes.py": _text(HEAD_OF_MAIL, OF_MAIL),
        FOLDER / "message_shapes.py": _text(HEAD_OF_MESSAGES, OF_MESSAGES),
        FOLDER / "webhook_shapes.py": _text(HEAD_OF_WEBHOOKS, OF_WEBHOOKS),
        FOLDER / "credential_shapes.py": _text(HEAD_OF_CREDENTIALS, OF_CREDENTIALS),
    }


def _text(head: str, names: list[str]) -> str:
    made = "\n\n".join([head, *(shape(name, SOURCES[name]) for name in names)])
    ruff = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(FOLDER / "shapes.py"), "-"]
    return subprocess.run(ruff, input=made, capture_output=True, text=True, check=True).stdout


def shape(name: str, source: Source) -> str:
    """The source of one class. Its base is the shape of its struct's base."""
    base = source.kind.__bases__[0]
    fields, options = source.fields(), ""
    if base in NAMES:
        fields = {name: found for name, found in fields.items() if name not in base.__struct_fields__}
        options = ", kw_only=True"
    renamed = {field: found.name for field, found in fields.items() if found.name == f"{field}_"}
    if renamed:  # a name that is a word of Python
        options += f", rename={dict(zip(renamed.values(), renamed, strict=True))!r}"
        fields = {renamed.get(field, field): found for field, found in fields.items()}
    doc = (inspect.cleandoc(source.kind.__doc__ or "") if source.doc is None else source.doc).replace("\n", "\n    ")
    lines = [f'    """{doc}"""\n'] * bool(doc)
    for field_name, found in fields.items():
        may_be_missing = source.kind.__struct_config__.omit_defaults and not found.required
        kind = source.types.get(field_name) or written(field_name, found.type)
        lines.append(f"    {field_name}: {kind}" + f" = {found.default!r}" * may_be_missing)
    return "\n".join([f"class {name}({NAMES.get(base, 'Shape')}, frozen=True{options}):", *lines, ""])


def written(name: str, kind: Any) -> str:
    """A type as the client's source spells it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " | ".join(written(name, each) for each in arguments)
    if origin is Annotated:
        return written(name, arguments[0])
    if origin is Literal:
        return "str"
    if origin is not None:
        return f"{origin.__name__}[{', '.join(written('', each) for each in arguments)}]"
    if kind is str and name.endswith(TIMES):
        return "datetime"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return NAMES[kind]
    return {type(None): "None", Ellipsis: "..."}.get(kind) or str(kind.__name__)


if __name__ == "__main__":
    for path, text in modules().items():
        path.write_text(text, encoding="utf-8")
