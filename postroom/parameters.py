"""What each parameter of the API means. OpenAPI shows these descriptions for a query or a body; the
command line and the agents' tools show them for an operation.

A parameter that has another type in the client than in a request (a flag is `true` in a query) is
generic. This module imports nothing from Postroom, so that a program with the client stays small.
"""

from datetime import datetime
from typing import Annotated, Any, TypeVar, get_args

from msgspec import Meta

LIMIT_MAX = 500
LARGEST = 2**63 - 1

T = TypeVar("T")

AccountId = Annotated[int, Meta(ge=1, le=LARGEST, description="The id of an account.")]
AccountsLimit = Annotated[T, Meta(description="The number of accounts that there may be.")]
AccountsPerDomainLimit = Annotated[T, Meta(description="The number of accounts that one domain may have.")]
AliasesPerAccountLimit = Annotated[T, Meta(description="The number of aliases that one account may have.")]
DomainsLimit = Annotated[T, Meta(description="The number of domains that there may be.")]
Address = Annotated[str, Meta(description="An address, also with a +tag.")]
AccountIds = Annotated[
    T, Meta(description="The accounts that get the mail; several make a group, and each gets a copy.")
]
AliasName = Annotated[str, Meta(description="Your name for the alias.")]
AliasKind = Annotated[T, Meta(description="The kind: alias, group or catch_all.")]
AliasLocalPart = Annotated[str, Meta(description="The part before the @, or * for the catch-all of the domain.")]
MaySend = Annotated[bool, Meta(description="Whether the accounts may also send as the address; default: true.")]
After = Annotated[int, Meta(ge=0, description="Only items after this id: the cursor of a list.")]
AllowReserved = Annotated[bool, Meta(description="Allow a role address such as admin@, on the user's own domain.")]
Deleted = Annotated[T, Meta(description="List the deleted accounts that can be restored.")]
LimitNumber = Annotated[int, Meta(ge=0, le=LARGEST)]
DisableScripts = Annotated[
    bool,
    Meta(description="Stop the Sieve scripts, which may forward mail, until the owner makes one active again."),
]
DisplayName = Annotated[str, Meta(description="The name that people see.")]
DomainName = Annotated[str, Meta(description="The domain, such as customer.com.")]
EveryUser = Annotated[T, Meta(description="List the domains of all users.")]
ExpiresAt = Annotated[datetime, Meta(description="When it expires, such as 2027-01-31T00:00:00Z.")]
Fields = Annotated[str, Meta(description="Show these fields, separated by commas, or * for all.")]
InboundMode = Annotated[T, Meta(description="How mail to the domain is handled; only store is available now.")]
Id = Annotated[int, Meta(ge=1, le=LARGEST, description="The id (a number).")]
IdempotencyKey = Annotated[
    str,
    Meta(description="Give the same key to send the same request again: it is carried out once, for 24 hours."),
]
IsDefault = Annotated[bool, Meta(description="Make it the user's default account.")]
KeyDomains = Annotated[T, Meta(description="The domains that the key sees; default: all.")]
KeyName = Annotated[str, Meta(description="Your name for the key.")]
Limit = Annotated[int, Meta(ge=1, description=f"Size of the page, up to {LIMIT_MAX}; default: 50.")]
LocalPart = Annotated[str, Meta(description="The part before the @.")]
Networks = Annotated[T, Meta(description="Networks that the key may be used from, in CIDR notation.")]
Offset = Annotated[int, Meta(ge=0, description="Number of items to skip; `after` is cheaper.")]
ListOrder = Annotated[T, Meta(description="The oldest or the newest first.")]
OrganizationId = Annotated[T, Meta(description="Must be the organization of the key.")]
Password = Annotated[str, Meta(description="A password of your choice; default: a generated one.")]
AddressPrefix = Annotated[str, Meta(description="The beginning of the address.")]
Purge = Annotated[bool, Meta(description="Erase its mail at once; it cannot be restored then.")]
Scopes = Annotated[T, Meta(description="What the key may do; default: all scopes of the key in use.")]
StatusName = Annotated[T, Meta(description="The status.")]
Subdomain = Annotated[str, Meta(description="The name below the domain that others may claim.")]
UserId = Annotated[str, Meta(description="The platform's user_id; a key bound to a user needs none.")]
WebhookSecret = Annotated[str, Meta(description="The secret that signs calls of the webhook.")]
WebhookUrl = Annotated[str, Meta(description="The URL of the webhook.")]


def words_of(hint: Any) -> str:
    """The description of a parameter's type, or of one of the types that the parameter may have; an
    empty string if there is none."""
    for meta in getattr(hint, "__metadata__", ()):
        if isinstance(meta, Meta) and meta.description:
            return meta.description
    return next(filter(None, map(words_of, get_args(hint))), "")
