"""The client's shapes are those of the server, field by field, and hold no secret in a repr."""

import io
from typing import Any

import msgspec
import pytest
import rich.console

from postroom.api.endpoints import (
    accounts,
    client_settings,
    dkim,
    domain_views,
    events,
    health,
    keys,
    limits,
    mailboxes,
    stats,
    verification,
)
from postroom.api.endpoints.account_views import FullAccount
from postroom.client import Account, AccountWithPassword, Client, KeyWithSecret, shapes
from postroom.client.operations import Operations
from postroom.client.request import call
from postroom.domains.client_settings import Server
from postroom.domains.dns_records import Record
from postroom.mailboxes.interface import OpenSession
from postroom.tenants.limits import Limits
from postroom.tenants.usage import Count
from tests.harness.server import Tenant

PAIRS: list[tuple[type[msgspec.Struct], type[msgspec.Struct]]] = [
    (shapes.Account, FullAccount),
    (shapes.MailServer, Server),
    (shapes.ClientSettings, client_settings.SettingsAnswer),
    (shapes.Usage, mailboxes.UsageAnswer),
    (shapes.OpenSession, OpenSession),
    (shapes.OpenSessions, mailboxes.SessionsAnswer),
    (shapes.AccountWithPassword, accounts.SecretAnswer),
    (shapes.Domain, domain_views.FullDomain),
    (shapes.DomainName, domain_views.ShownDomain),
    (shapes.DomainInfo, domain_views.DomainInfo),
    (shapes.Record, Record),
    (shapes.CheckedRecord, verification.CheckedRecord),
    (shapes.DomainChecked, verification.VerifiedAnswer),
    (shapes.InboundRoute, domain_views.InboundRoute),
    (shapes.MailExchanger, domain_views.MailExchanger),
    (shapes.DkimRecord, dkim.DkimItem),
    (shapes.DomainKeys, dkim.RotateAnswer),
    (shapes.Key, keys.ShownKey),
    (shapes.KeyWithSecret, keys.CreatedKeyAnswer),
    (shapes.KeyName, keys.DeletedKey),
    (shapes.Event, events.ShownEvent),
    (shapes.Caps, Limits),
    (shapes.Limits, limits.LimitsAnswer),
    (shapes.AccountCount, Count),
    (shapes.DomainCount, stats.DomainCount),
    (shapes.Readiness, health.Ready),
]


@pytest.mark.parametrize(("ours", "server"), PAIRS, ids=lambda kind: kind.__name__)
def test_a_shape_has_the_fields_of_the_server(ours: type[msgspec.Struct], server: type[msgspec.Struct]) -> None:
    assert set(ours.__struct_fields__) == set(server.__struct_fields__)


@pytest.fixture
def made(tenant: Tenant, client: Client) -> AccountWithPassword:
    return client.create_account(tenant.domain, "billing", user_id="user_123")


def shown(value: Any) -> str:
    """As `repr`, `str` and rich show it."""
    console = rich.console.Console(file=io.StringIO(), width=500)
    console.print(value)
    return f"{value!r} {value} {[value]} {console.file.getvalue()}"  # type: ignore[attr-defined]


def test_a_password_is_in_no_repr(made: AccountWithPassword) -> None:
    assert len(made.password) > 20
    assert made.password not in shown(made)
    assert made.account.address in shown(made)


def test_a_key_is_in_no_repr(client: Client, tenant: Tenant) -> None:
    key: KeyWithSecret = client.create_key(name="child")
    assert key.api_key.startswith("pr_")
    assert key.api_key not in shown(key)
    assert "child" in shown(key)
    assert tenant.key not in shown(client)


def test_a_chosen_password_is_in_no_repr_of_what_is_sent(client: Client) -> None:
    request = Operations.create_account.describe(client, "demo.test", "billing", password="correct horse")
    plan = call("POST", "/v2/email-accounts/create", request, client.retry_policy)
    assert "horse" not in repr([request, plan, next(plan)])


def test_what_a_newer_server_adds_is_no_error(made: AccountWithPassword) -> None:
    newer = msgspec.to_builtins(made.account) | {"quota": 5, "status": "resting"}
    assert msgspec.convert(newer, Account).status == "resting"
