"""What each parameter of the API means, with an example and its limits. OpenAPI shows this for a
query or a body; the command line and the agents' tools show the description of an operation.

A parameter that has another type in the client than in a request (a flag is `true` in a query) is
generic. The limits of a text are for readers of the document: the endpoints check them, with
messages of their own. This module imports nothing from Postroom, so that a program with the client
stays small.
"""

from datetime import datetime
from typing import Annotated, Any, TypeVar, get_args

from msgspec import Meta

LIMIT_MAX = 500
LARGEST = 2**63 - 1

T = TypeVar("T")


def _of(description: str, example: Any, **limits: Any) -> Meta:
    """The meaning of a parameter; `limits` are keywords of JSON Schema."""
    return Meta(description=description, examples=[example], extra_json_schema=limits or None)


# A local part begins with a letter or digit; a dot stands before another character, not a dot.
LOCAL_PART = r"^[A-Za-z0-9](\.?[A-Za-z0-9_-])*$"
# No control characters and no separators of lines.
NAME = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"
# Text without control characters. What else is printable, Unicode says.
PRINTABLE = r"^[^\u0000-\u001f\u007f-\u00a0]*$"
DOMAIN = {"minLength": 1, "maxLength": 253, "format": "hostname"}
ID = Meta(ge=1, le=LARGEST, extra_json_schema={"format": "int64"})

AccountId = Annotated[int, ID, _of("The id of an account.", 42)]
AccountIds = Annotated[T, _of("The accounts that get the mail; several make a group, and each gets a copy.", [42])]
AccountsLimit = Annotated[T, _of("The number of accounts that there may be.", 100)]
AccountsPerDomainLimit = Annotated[T, _of("The number of accounts that one domain may have.", 50)]
Address = Annotated[str, _of("An address, also with a +tag.", "billing+tag@customer.com", minLength=1)]
AliasKind = Annotated[T, _of("The kind: alias, group, catch_all or former.", "group")]
AliasLocalPart = Annotated[
    str, _of("The part before the @; * makes the catch-all of the domain.", "sales", minLength=1)
]
AliasName = Annotated[str, _of("Your name for the alias.", "sales team", maxLength=255, pattern=NAME)]
AliasesPerAccountLimit = Annotated[T, _of("The number of aliases that one account may have.", 50)]
DomainsLimit = Annotated[T, _of("The number of domains that there may be.", 5)]
After = Annotated[int, Meta(ge=0, le=LARGEST), _of("Only items after this id: the cursor of a list.", 42)]
AllowReserved = Annotated[bool, _of("Allow a role address such as admin@, on the user's own domain.", True)]
Deleted = Annotated[T, _of("List the deleted accounts that can be restored.", True)]
LimitNumber = Annotated[int, Meta(ge=0, le=LARGEST, extra_json_schema={"format": "int64"})]
DeliveryStatus = Annotated[T, _of("Only deliveries with this status.", "failed")]
DisableScripts = Annotated[
    bool,
    _of("Stop the Sieve scripts, which may forward mail, until the owner makes one active again.", True),
]
DisplayName = Annotated[str, _of("The name that people see.", "Billing", maxLength=255, pattern=NAME)]
DomainName = Annotated[str, _of("The domain, such as customer.com.", "customer.com", **DOMAIN)]
EmailAddress = Annotated[
    str, _of("The address of the mail client's user.", "billing@customer.com", minLength=1, pattern=PRINTABLE)
]
EveryUser = Annotated[T, _of("List the domains of all users.", True)]
ExpiresAt = Annotated[datetime, _of("When it expires, such as 2027-01-31T00:00:00Z.", "2027-01-31T00:00:00Z")]
EventTypeName = Annotated[T, _of("Only events of this type.", "account.created")]
EventKeyId = Annotated[int, ID, _of("Only events of this key.", 7)]
Fields = Annotated[str, _of("Show these fields, separated by commas, or * for all.", "*", minLength=1)]
InboundMode = Annotated[T, _of("How mail to the domain is handled; only `webhook` keeps none.", "store")]
FormerDays = Annotated[
    int, Meta(ge=1, le=36500), _of("Days until the old address ends; default: until it is deleted.", 90)
]
AppPasswordName = Annotated[
    str,
    Meta(min_length=1),
    _of("Your name for the app password: the program or device.", "Ann's phone", maxLength=255, pattern=NAME),
]
AppPasswordScopes = Annotated[T, _of("The protocols that it is valid for; smtp is submission.", ["imap", "smtp"])]
AppPasswordNetworks = Annotated[
    T, _of("Networks that it is valid from, in CIDR notation; default: all.", ["192.0.2.0/24"])
]
MainPassword = Annotated[
    bool, _of("Whether the main password logs in; app passwords stay valid either way; default: true.", False)
]
ProtocolSwitches = Annotated[
    T,
    _of(
        "Protocols to switch on or off, for every password; smtp is submission.",
        {"pop3": False, "sieve": False},
        type="object",
    ),
]
RevokeAppPasswords = Annotated[bool, _of("Also delete every app password of the account.", True)]
Id = Annotated[int, ID, _of("The id (a number).", 42)]
IdempotencyKey = Annotated[
    str,
    _of(
        "Give the same key to send the same request again: it is carried out once, for 24 hours.",
        "9f1c2e64-0a5b-4a0e-8d0f-3f0a1c5b7d21",
    ),
]
IsDefault = Annotated[bool, _of("Make it the user's default account.", True)]
KeepFormer = Annotated[bool, _of("Keep the old address, which then receives, logs in and sends; default: true.", True)]
KeyDomains = Annotated[T, _of("The domains that the key sees; default: all.", ["customer.com"])]
KeepWebhooks = Annotated[
    bool, _of("Leave the webhooks of the key active; default: they are disabled with the key.", True)
]
KeyName = Annotated[str, _of("Your name for the key.", "support desk", maxLength=255, pattern=NAME)]
Limit = Annotated[int, Meta(ge=1, le=LARGEST), _of(f"Size of the page, up to {LIMIT_MAX}; default: 50.", 100)]
LocalPart = Annotated[str, _of("The part before the @.", "billing", minLength=1, maxLength=64, pattern=LOCAL_PART)]
MaySend = Annotated[bool, _of("Whether the accounts may also send as the address; default: true.", True)]
MailboxName = Annotated[
    str,
    _of(
        "The mailbox (a folder), such as Sent; default: INBOX.",
        "INBOX",
        minLength=1,
        maxLength=1000,
        pattern=NAME,
    ),
]
MessageId = Annotated[str, _of("The id of a message in its mailbox, as a list shows it.", "1796028450.33")]
MessageIds = Annotated[T, _of("The ids of messages in the mailbox, as a list shows them.", ["1796028450.33"])]
MessageFlags = Annotated[
    T,
    _of("Flags to set (true) or to remove (false); absent ones stay as they are.", {"seen": True}, type="object"),
]
MoveTo = Annotated[
    str,
    _of("Move the message to this mailbox.", "Archive", minLength=1, maxLength=1000, pattern=NAME),
]
PurgeMessages = Annotated[bool, _of("Erase the messages instead: nothing brings them back.", True)]
LastEventId = Annotated[
    str,
    _of("The id of the last event, for a client that cannot send the header.", "eJyrVspMUbIyMQCxAA", maxLength=8000),
]
SyncToken = Annotated[str, _of("The token of the last answer; none: everything is new.", "4401.118", maxLength=100)]
UidValidity = Annotated[str, _of("The uidvalidity of the last answer.", "1796028450", maxLength=100)]
Uid = Annotated[int, Meta(ge=1, le=LARGEST), _of("The UID of the message in its mailbox, as IMAP has it.", 33)]
AttachmentPart = Annotated[str, _of("The number of the attachment's part, as the message shows it.", "2.1")]
BeforeUid = Annotated[int, Meta(ge=1, le=LARGEST), _of("Only messages with a lower UID, the newest of them.", 1000)]
AfterUid = Annotated[int, Meta(ge=0, le=LARGEST), _of("Only messages with a higher UID, the oldest of them.", 32)]
Unseen = Annotated[T, _of("Only messages that are not read yet.", True)]
MessageText = {"minLength": 1, "maxLength": 1000, "pattern": NAME}
MessageFrom = Annotated[str, _of("Only messages whose From contains this text.", "ann@example.org", **MessageText)]
MessageTo = Annotated[str, _of("Only messages whose To contains this text.", "billing@customer.com", **MessageText)]
MessageSubject = Annotated[str, _of("Only messages whose subject contains this text.", "invoice", **MessageText)]
MessageSince = Annotated[str, _of("Only messages received on this day (UTC) or later.", "2026-01-31", format="date")]
MessageUntil = Annotated[str, _of("Only messages received before this day (UTC).", "2027-01-31", format="date")]
MessageQuery = Annotated[
    str, _of("Only messages that contain this text, in the header or in a text part.", "order 4711", **MessageText)
]
Networks = Annotated[T, _of("Networks that the key may be used from, in CIDR notation.", ["192.0.2.0/24"])]
Offset = Annotated[int, Meta(ge=0, le=LARGEST), _of("Number of items to skip; `after` is cheaper.", 0)]
ListOrder = Annotated[T, _of("The oldest or the newest first.", "newest")]
OrganizationId = Annotated[T, _of("Must be the organization of the key.", 1)]
Password = Annotated[
    str,
    _of(
        "A password of your choice; default: a generated one.",
        "violet-harbor-sings-42",
        minLength=15,
        maxLength=256,
        format="password",
    ),
]
PasswordHash = Annotated[
    str,
    _of(
        "The hash of a password, from another system, in place of a password: bcrypt, Argon2 and others.",
        "$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
        minLength=1,
        maxLength=256,
        format="password",
    ),
]
PasswordSchemeName = Annotated[
    T, _of("Where the password comes from: generated, chosen, or imported as a hash.", "imported")
]
Credential = Annotated[
    T,
    _of("A password in the answer, a link with which the owner sets one, or neither; default: password.", "setup_link"),
]
ExpiresIn = Annotated[
    int, Meta(ge=60, le=30 * 86400), _of("Seconds until the link expires; default: 86400, which is a day.", 86400)
]
TokenExpiresIn = Annotated[
    int, Meta(ge=1, le=86400), _of("Seconds until the token expires; default: 900, which is a quarter of an hour.", 900)
]
TokenAccountId = Annotated[int, ID, _of("The only account that the token opens; default: all of the user's.", 42)]
TokenScopes = Annotated[
    T,
    _of(
        "What the token may do; default: messages:read and messages:write, as far as the key has them.",
        ["messages:read"],
    ),
]
SetupToken = Annotated[
    str,
    _of(
        "The part of a setup link behind its #.",
        "9hYqL0qv3kHk0u9d2m6sWc1oT5bXz7aJrN8eQfGiPlU",
        maxLength=200,
        format="password",
    ),
]
AddressPrefix = Annotated[str, _of("The beginning of the address.", "bill", pattern=r"^[^\u0000]*$")]
# 16 TiB. The sum of half a million such quotas still fits into 63 bits.
LARGEST_QUOTA = 2**44
QuotaNumber = Annotated[int, Meta(ge=1, le=LARGEST_QUOTA, extra_json_schema={"format": "int64"})]
QuotaBytes = Annotated[T, _of("How many bytes of mail the account may hold; null: no quota.", 5 * 2**30)]
QuotaMessages = Annotated[T, _of("How many messages the account may hold; null: no quota.", 100_000)]
QuotaBytesLimit = Annotated[T, _of("The quota in bytes of accounts that are made without one.", 5 * 2**30)]
StorageBytesLimit = Annotated[T, _of("The largest sum of the quotas in bytes; every account must have one.", 2**40)]
SendNumber = Annotated[int, Meta(ge=0, le=LARGEST, extra_json_schema={"format": "int64"})]
MaySendMail = Annotated[
    bool, _of("Whether the account may send mail; false also stops its forwards and replies.", False)
]
SendLimitsToSet = Annotated[
    T,
    _of(
        "Send limits of the account; null: as its user and its organization say. The narrowest applies.",
        {"recipients_per_hour": 50},
        type="object",
    ),
]
SendLimitsOfEach = Annotated[
    T, _of("Send limits of each account; null: no limit.", {"recipients_per_hour": 200}, type="object")
]
SendLimitsTotal = Annotated[
    T, _of("Send limits of all accounts together; null: no limit.", {"recipients_per_day": 20_000}, type="object")
]
SendBlocked = Annotated[bool, _of("False ends the block of an account that was at its send limit for too long.", False)]
OwnAddress = Annotated[
    str, Meta(max_length=320), _of("The address of your account.", "billing@customer.com", minLength=1)
]
OwnPassword = Annotated[
    str, Meta(max_length=1024), _of("The password of your account.", "violet-harbor-sings-42", format="password")
]
NewPassword = Annotated[
    str, _of("The new password, of 15 to 256 characters.", "lantern-over-quiet-water", format="password")
]
Purge = Annotated[bool, _of("Erase its mail at once; it cannot be restored then.", True)]
Scopes = Annotated[T, _of("What the key may do; default: all scopes of the key in use.", ["accounts:read"])]
KeepCopy = Annotated[bool, _of("Keep a copy in the mailbox.", True)]
RuleEnabled = Annotated[bool, _of("Turn the rule on or off.", True)]
ForwardTo = Annotated[T, _of("The addresses to forward to.", ["ann@example.org"])]
VacationSubject = Annotated[
    str, _of("The subject of the reply; default: that of the message.", "Away", maxLength=255, pattern=NAME)
]
VacationText = Annotated[str, _of("The text of the reply.", "I am back on Monday.", maxLength=16384)]
VacationFrom = Annotated[datetime, _of("Reply from this time on.", "2026-12-24T00:00:00Z")]
VacationUntil = Annotated[datetime, _of("Reply until this time.", "2027-01-02T00:00:00Z")]
VacationDays = Annotated[int, Meta(ge=1, le=365), _of("Days before the same sender gets another reply; default: 7.", 7)]
SentMessageId = Annotated[
    str,
    _of(
        "Only the message with this Message-ID, with or without <>.",
        "<1@mail.example>",
        minLength=1,
        maxLength=1000,
        pattern=r"^[^\u0000]*$",
    ),
]
ReplayAfter = Annotated[
    int, Meta(ge=0, le=LARGEST), _of("Send the events after this one again; 0: all that there are.", 1000)
]
ReplayDelivery = Annotated[int, ID, _of("Send this delivery again.", 42)]
ReplayFailed = Annotated[bool, _of("`true` sends the deliveries again that have failed.", True)]
PERSON_WORDS = "`name@domain`, or `Name <name@domain>`"
DraftTo = Annotated[T, _of(f"Who gets the message: {PERSON_WORDS}.", ["Ann Lee <ann@example.org>"])]
Cc = Annotated[T, _of("Who gets a copy.", ["bob@example.org"])]
Bcc = Annotated[T, _of("Who gets a copy that the others do not see.", ["carl@example.org"])]
DraftFrom = Annotated[
    str, _of("The sender, an address of the account; default: its own address and name.", "Sales <sales@customer.com>")
]
DraftReplyTo = Annotated[str, _of("Whom to answer instead of the sender.", "help@customer.com")]
DraftSubject = Annotated[str, _of("The subject; default with in_reply_to_id: that of the message.", "Invoice 4711")]
DraftText = Annotated[str, _of("The plain text, at most 1 MiB.", "Hello.")]
DraftHtml = Annotated[str, _of("The text in HTML, at most 1 MiB.", "<p>Hello.</p>")]
DraftAttachments = Annotated[T, _of("The attachments, at most 100.", [])]
AttachmentFilename = Annotated[str, _of("The name of the file.", "invoice.pdf", minLength=1, maxLength=255)]
AttachmentType = Annotated[str, _of("Its type.", "application/pdf")]
AttachmentContent = Annotated[str, _of("Its content in base64.", "JVBERi0xLjcK")]
AttachmentContentId = Annotated[
    str, _of("The id by which the HTML text shows it, as `cid:logo`.", "logo", minLength=1, maxLength=200)
]
DraftHeaders = Annotated[T, _of("Further header fields; not those that the server sets.", {"X-Ticket": "4711"})]
InReplyToId = Annotated[
    str, _of("The id of the message that this one answers. Also needs messages:read.", "1796028450.33")
]
InReplyToMailbox = Annotated[str, _of("The mailbox of that message.", "INBOX")]
SaveSent = Annotated[bool, _of("Save a copy in the mailbox for sent mail.", True)]
Since = Annotated[str, _of("Only events from this time on.", "2026-01-31T00:00:00Z", format="date-time")]
Until = Annotated[str, _of("Only events before this time.", "2027-01-31T00:00:00Z", format="date-time")]
StatusName = Annotated[T, _of("The status.", "active")]
Subdomain = Annotated[str, _of("The name below the domain that others may claim.", "mail.customer.com", **DOMAIN)]
UserId = Annotated[
    str,
    _of(
        "The platform's user_id; a key bound to a user needs none.",
        "user_123",
        minLength=1,
        maxLength=128,
        pattern=PRINTABLE,
    ),
]
WebhookAccountId = Annotated[int, ID, _of("Only events of this account.", 42)]
WebhookDescription = Annotated[str, _of("Your note about the webhook.", "billing system", maxLength=255, pattern=NAME)]
WebhookDomain = Annotated[str, _of("Only events of this domain.", "customer.com", **DOMAIN)]
WebhookEvents = Annotated[
    T, _of("The types of events to send; account.* means all about accounts, * all.", ["account.*", "domain.lost"])
]
WebhookSecret = Annotated[
    str,
    _of("The secret that signs; default: one that is made and shown once.", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
]
WebhookStatus = Annotated[T, _of("`active` makes a disabled webhook active again.", "active")]
WebhookUrl = Annotated[str, _of("The URL of the webhook.", "https://platform.example/mail")]


def words_of(hint: Any) -> str:
    """The description of a parameter's type, or of one of the types that the parameter may have; an
    empty string if there is none."""
    for meta in getattr(hint, "__metadata__", ()):
        if isinstance(meta, Meta) and meta.description:
            return meta.description
    return next(filter(None, map(words_of, get_args(hint))), "")
