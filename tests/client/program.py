"""A small program of a user, for tests/client/test_types.py: mypy must infer exactly these
types."""

from datetime import datetime
from typing import assert_type

from postroom.client import (
    Account,
    AccountWithPassword,
    AsyncClient,
    AsyncPages,
    Client,
    DomainInfo,
    KeyWithSecret,
    Pages,
    Stats,
    Webhook,
    WebhookWithSecret,
)
from postroom.client.mail_shapes import SentRecipient


def blocking() -> None:
    with Client() as client:
        made = client.create_account("demo.test", "billing", user_id="user_123")
        assert_type(made, AccountWithPassword)
        assert_type(made.password, str | None)
        assert_type(client.get_account(made.account.id), Account)
        assert_type(client.list_accounts(domain="demo.test"), Pages[Account])
        for account in client.list_accounts():
            assert_type(account, Account)
        assert_type(client.delete_domain("demo.test"), str)
        assert_type(client.get_stats(), Stats)
        assert_type(client.create_webhook("https://platform.example/", ["*"]), WebhookWithSecret)
        assert_type(client.rotate_webhook_secret(7).secret, str)
        for webhook in client.list_webhooks():
            assert_type(webhook.failing_since, datetime | None)
        for sent in client.list_sent(7, message_id="<1@mail.example>"):
            assert_type(sent, SentRecipient)
        link = client.create_account("demo.test", "owner", credential="setup_link")
        assert_type(link.setup_url, str | None)
        assert_type(client.create_setup_link(link.account.id, expires_in=3600).setup_url, str)


async def awaited() -> None:
    async with AsyncClient() as client:
        made = await client.create_account("demo.test", "billing", user_id="user_123")
        assert_type(made, AccountWithPassword)
        assert_type(await client.create_domain("demo.test"), DomainInfo)
        assert_type(await client.create_key(scopes=["accounts:read"]), KeyWithSecret)
        assert_type(client.list_accounts(), AsyncPages[Account])
        async for account in client.list_accounts():
            assert_type(account, Account)
        assert_type(await client.update_webhook(7, status="active"), Webhook)
        async for sent in client.list_sent(7):
            assert_type(sent.status_at, datetime)


def wrong(client: Client, other: AsyncClient) -> None:
    client.create_account("demo.test")  # type: ignore[call-arg]
    client.get_account("7")  # type: ignore[arg-type]
    client.update_account(7, status="gone")  # type: ignore[arg-type]
    client.update_webhook(7, status="disabled")  # type: ignore[arg-type]
    client.list_accounts(colour="red")  # type: ignore[call-arg]
    print(client.get_stats().nothing)  # type: ignore[attr-defined]
    print(other.get_stats().accounts)  # type: ignore[attr-defined]
    for _ in other.list_accounts():  # type: ignore[attr-defined]
        pass
