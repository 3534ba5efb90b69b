"""The methods of both clients for limits (see operations.py)."""

from collections.abc import Mapping
from typing import Literal

from msgspec import UNSET, UnsetType

from postroom import parameters as p
from postroom.client import answers
from postroom.client import limit_shapes as shapes
from postroom.client.methods import operation
from postroom.client.request import Request, changed, given

SendLimit = Literal["recipients_per_hour", "recipients_per_day", "new_recipients_per_day", "recipients_per_message"]
SendTotal = Literal["recipients_per_hour", "recipients_per_day"]


class LimitOperations:
    """The operations on limits."""

    @operation("GET", "/v2/limits")
    def get_limits(self, *, user_id: p.UserId | None = None) -> Request[shapes.Limits]:
        """Shows the limits of a user or, without `user_id`, of the organization."""
        return Request(answers.limits, query=given(user_id=user_id))

    @operation("PUT", "/v2/limits")
    def set_limits(
        self,
        *,
        user_id: p.UserId | None = None,
        domains: p.DomainsLimit[int] | UnsetType | None = UNSET,
        accounts: p.AccountsLimit[int] | UnsetType | None = UNSET,
        accounts_per_domain: p.AccountsPerDomainLimit[int] | UnsetType | None = UNSET,
        aliases_per_account: p.AliasesPerAccountLimit[int] | UnsetType | None = UNSET,
        quota_bytes: p.QuotaBytesLimit[int] | UnsetType | None = UNSET,
        storage_bytes: p.StorageBytesLimit[int] | UnsetType | None = UNSET,
        send_limits: p.SendLimitsOfEach[Mapping[SendLimit, int | None]] | None = None,
        send_limits_total: p.SendLimitsTotal[Mapping[SendTotal, int | None]] | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.Limits]:
        """Sets the limits of a user; None removes a limit."""
        limits = changed(domains=domains, accounts=accounts, accounts_per_domain=accounts_per_domain)
        limits |= changed(aliases_per_account=aliases_per_account)
        limits |= changed(quota_bytes=quota_bytes, storage_bytes=storage_bytes)
        limits |= given(send_limits=send_limits, send_limits_total=send_limits_total)
        return Request(answers.limits, body=given(user_id=user_id) | limits, idempotency_key=idempotency_key)
