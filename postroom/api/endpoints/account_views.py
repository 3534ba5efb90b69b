"""The shapes of an account in answers: by default exactly the keys of each endpoint's
documentation, with `?fields=` the full resource in snake_case.

Create answers with `userId` and `isDefault` by default, because the specification does.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from postroom.accounts.model import SHOWN, Account
from postroom.api.fields import projection as fields_projection
from postroom.api.projections import derive, filler, readers

NOTE = "Save this password now. It will not be shown again."

CreatedAccount = derive(
    "CreatedAccount",
    Account,
    ("id", "user_id", "domain", "local_part", "address", "display_name", "status", "is_default"),
    rename={"user_id": "userId", "is_default": "isDefault"},
)
ListedAccount = derive("ListedAccount", Account, ("id", "user_id", "domain", "address"))
DomainsAccount = derive("DomainsAccount", Account, ("id", "domain", "local_part", "address"))
UpdatedAccount = derive("UpdatedAccount", Account, ("id", "domain", "address", "status"))
ResetAccount = derive("ResetAccount", Account, ("id", "domain", "address"))
DeletedAccount = derive("DeletedAccount", Account, ("id", "address"))
FullAccount = derive("FullAccount", Account, SHOWN, doc="Every field that `?fields=` knows.")

created, listed, of_domain = filler(CreatedAccount), filler(ListedAccount), filler(DomainsAccount)
updated, reset, deleted = filler(UpdatedAccount), filler(ResetAccount), filler(DeletedAccount)
FIELDS = readers(FullAccount)


def projection(fields: str | msgspec.UnsetType, default: Callable[[Account], Any]) -> Callable[[Account], Any]:
    """The function that shows an account for this `?fields=`: in the default shape, with all fields
    (`*`) or with the named ones. Raises `invalid_request`."""
    return fields_projection(fields, default, FIELDS)
