"""The client's shapes are generated from the server's structs, and their repr shows no secret."""

import io
from typing import Any

import msgspec
import pytest
import rich.console

from postroom.client import (
    Account,
    AccountWithPassword,
    Client,
    KeyWithSecret,
    credential_shapes,
    limit_shapes,
    mail_shapes,
    message_shapes,
    shapes,
    webhook_shapes,
)
from postroom.client.operations import Operations
from postroom.client.request import call
from tests.client import make
from tests.client.conftest import url_of
from tests.harness.server import Tenant


def test_the_shapes_are_those_of_the_server() -> None:
    for path, text in make.modules().items():
        assert path.read_text(encoding="utf-8") == text, "run .venv/bin/python -m tests.client.make"


@pytest.mark.parametrize("name", make.SOURCES)
def test_a_shape_has_the_fields_of_the_server(name: str) -> None:
    server, module = make.SOURCES[name], credential_shapes if name in make.OF_CREDENTIALS else shapes
    module = limit_shapes if name in make.OF_LIMITS else module
    module = mail_shapes if name in make.OF_MAIL else module
    module = message_shapes if name in make.OF_MESSAGES else module
    module = webhook_shapes if name in make.OF_WEBHOOKS else module
    assert set(getattr(module, name).__struct_encode_fields__) == {
        field for field in server.kind.__struct_encode_fields__ if field not in server.left_out
    }


@pytest.fixture
def made(tenant: Tenant, client: Client) -> AccountWithPassword:
    return client.create_account(tenant.domain, "billing", user_id="user_123")


def shown(value: Any) -> str:
    """The value as `repr`, `str` and rich print it."""
    console = rich.console.Console(file=io.StringIO(), width=500)
    console.print(value)
    return f"{value!r} {value} {[value]} {console.file.getvalue()}"  # type: ignore[attr-defined]


def test_a_password_is_in_no_repr(made: AccountWithPassword) -> None:
    assert made.password
    assert len(made.password) > 20
    assert made.password not in shown(made)
    assert made.account.address in shown(made)


def test_a_key_is_in_no_repr(client: Client, tenant: Tenant) -> None:
    key: KeyWithSecret = client.create_key(name="child")
    assert key.api_key.startswith("pr_")
    assert key.api_key not in shown(key)
    assert "child" in shown(key)
    assert tenant.key not in shown(client)


def test_a_mail_token_is_in_no_repr(made: AccountWithPassword, tenant: Tenant) -> None:
    with Client(url_of(tenant), tenant.key) as client:
        made_token = client.create_mail_token(user_id="user_123")
        token = made_token.token
        assert token not in shown(made_token)
        synced = client.sync_mailbox(made.account.id)
    assert token.startswith("mt_")
    with Client(url_of(tenant), mail_token=token) as browser:
        assert browser.sync_mailbox(made.account.id) == synced
        assert token not in shown(browser)
    assert synced.token in shown(synced)


@pytest.mark.parametrize(("key", "token"), [("pr_x", "mt_x"), (None, "pr_x"), (None, "mt_\n"), (None, "")])
def test_a_client_has_one_credential(key: str | None, token: str) -> None:
    with pytest.raises(ValueError, match="mail token"):
        Client("http://127.0.0.1:1", key, mail_token=token)


def test_a_chosen_password_is_in_no_repr_of_what_is_sent(client: Client) -> None:
    request = Operations.create_account.describe(client, "demo.test", "billing", password="correct horse")
    plan = call("POST", "/v2/email-accounts/create", request, client.retry_policy)
    assert "horse" not in repr([request, plan, next(plan)])


def test_fields_of_a_newer_server_are_accepted(made: AccountWithPassword) -> None:
    newer = msgspec.to_builtins(made.account) | {"quota": 5, "status": "resting"}
    assert msgspec.convert(newer, Account).status == "resting"
