"""A platform in the mail tests: an organization, a domain, and accounts created over HTTP."""

import functools
import http.client
import itertools
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postroom.accounts import owner_sessions
from postroom.actor import ALL_SCOPES, Actor
from postroom.auth.keys import CreateKey
from postroom.auth.tokens import new_token
from postroom.db import Tx, open_database
from postroom.domains import dkim
from postroom.domains.dkim import NewKey
from postroom.mailplane.dovecot.maildir import home_of
from postroom.service import bootstrap
from tests.harness.service import Service
from tests.mail.clients import HOST, Imap, deliver, imap_login, put_script, submit

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Mailbox:
    """An account and its password."""

    platform: "Platform"
    id: int
    address: str
    password: str

    @property
    def home(self) -> Path:
        """The account's folder on disk."""
        return home_of(self.platform.service.data / "mail", self.id)

    def login(self, password: str | None = None) -> Imap:
        """Returns a new IMAPS session."""
        return imap_login(self.platform.service, self.address, password or self.password)

    def can_login(self, password: str | None = None) -> bool:
        try:
            self.login(password).logout()
        except Imap.error:
            return False
        return True

    def receive(self, subject: str = "hello", sender: str = "someone@elsewhere.example") -> None:
        """Delivers a message by SMTP from outside."""
        deliver(self.platform.service, sender, self.address, subject)

    def send(self, to: str, subject: str = "hello") -> None:
        """Submits a message."""
        submit(self.platform.service, self.address, self.password, to, subject)

    def put_script(self, script: bytes, name: str = "main") -> None:
        """Stores and activates a Sieve script."""
        put_script(HOST, self.platform.service.ports["sieve_port"], self.address, self.password, script, name)

    def subjects(self) -> list[str]:
        """Returns the subjects in the INBOX."""
        with self.login() as imap:
            return imap.subjects()

    def wait_for(self, subject: str) -> bytes:
        """Waits for the message with this subject and returns the message."""
        with self.login() as imap:
            return imap.wait_for(subject)

    def update(self, **fields: Any) -> None:
        self.platform.call("PUT", f"/v2/email-accounts/{self.id}", fields)

    def reset(self) -> "Mailbox":
        """Resets the password and returns the same account with its new password."""
        answer = self.platform.call("POST", f"/v2/email-accounts/{self.id}/password/reset", {})
        return Mailbox(self.platform, self.id, self.address, answer["password"])

    def delete(self) -> None:
        self.platform.call("POST", "/v2/email-accounts/delete", {"id": self.id})


@functools.cache
def _dkim_key() -> NewKey:
    """Returns a shared key, because making a key takes as long as the rest of a platform."""
    return dkim.generate()


def _write(service: Service, work: Callable[[Tx], Any]) -> Any:
    """Runs a transaction beside the service, which is faster than its commands."""
    database = open_database(service.database_url)
    try:
        return database.write_sync(work)
    finally:
        database.close()


@dataclass(frozen=True)
class Platform:
    service: Service
    organization: str
    domain: str
    key: str

    @classmethod
    def new(cls, service: Service, user: str | None = None) -> "Platform":
        """Creates an organization with a domain. With `user`, the domain belongs to that user."""
        number = next(_numbers)
        organization, domain = f"platform {number}", f"p{number}.test"

        def make(tx: Tx) -> str:
            key = bootstrap.create_key(tx, organization, CreateKey(scopes=ALL_SCOPES))
            bootstrap.create_domain(tx, organization, domain, user, "active", _dkim_key())
            return key

        return cls(service, organization, domain, _write(service, make))

    def new_domain(self, name: str) -> None:
        """Another active platform domain of the organization, without a process of the command
        line."""
        _write(
            self.service, lambda tx: bootstrap.create_domain(tx, self.organization, name, None, "active", _dkim_key())
        )

    def sign_in(self, account_id: int) -> str:
        """Starts a session of the owner's page, also without a Dovecot. Returns its token."""
        token = new_token()

        def work(tx: Tx) -> None:
            (generation,) = tx.one("SELECT generation FROM accounts WHERE id = :id", id=account_id) or (0,)
            owner_sessions.start(tx, Actor(0, account_id=account_id), generation, token)

        _write(self.service, work)
        return token

    def sql(self, sql: str, **values: int | str) -> list[Any]:
        """Runs SQL directly on the database."""
        found: list[Any] = _write(self.service, lambda tx: tx.all(sql, **values))
        return found

    def call(self, method: str, path: str, body: Any) -> Any:
        """Makes a request that must succeed, and returns the answer."""
        status, answer = self.try_call(method, path, body)
        assert status < 300, answer
        return answer

    def try_call(self, method: str, path: str, body: Any, **more: str) -> tuple[int, Any]:
        """`more` are header fields, with _ in place of -."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.service.ports["port"], timeout=60)) as connection:
            headers = {"x-api-key": self.key, "content-type": "application/json"}
            headers |= {name.replace("_", "-"): value for name, value in more.items()}
            connection.request(method, path, json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def create(self, local_part: str = "billing", user_id: str = "user_123", **fields: Any) -> Mailbox:
        body = {"domain": self.domain, "local_part": local_part, "user_id": user_id, **fields}
        made = self.call("POST", "/v2/email-accounts/create", body)
        return Mailbox(self, made["account"]["id"], made["account"]["address"], made["password"])


def nothing_came(target: Mailbox, sender: Mailbox) -> list[str]:
    """Returns the subjects in a mailbox after a later, honest message has arrived."""
    sender.send(target.address, "the last")
    target.wait_for("the last")
    return [subject for subject in target.subjects() if subject != "the last"]
