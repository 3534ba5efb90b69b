"""Known passwords and keys are sent to every endpoint, in right and wrong places, and through a
crash. Then the test searches everything that the service stores, logs, runs or answers.

An answer may contain a secret only in `password`, `api_key`, `secret`, `setup_url` or `token` of
the call that made the secret.
"""

import base64
import hashlib
import http.client
import itertools
import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from postroom.api.event_stream import EventStream
from postroom.api.route import Route
from postroom.api.routes import ROUTES
from tests.harness import traces
from tests.harness.service import Service, wait_for
from tests.mail.clients import imap_login
from tests.mail.platform import Mailbox, Platform
from tests.mail.test_owner_page import Page

PASSWORDS = [f"Canary-{number:02}-{hashlib.sha256(str(number).encode()).hexdigest()[:20]}" for number in range(30)]
KEYS = [f"pr_Canary{number:02}{hashlib.sha256(f'k{number}'.encode()).hexdigest()[:33]}" for number in range(20)]
CANARIES = [*PASSWORDS, *KEYS]
# The digests of imported hashes, which only the database has.
DIGESTS = [hashlib.sha256(f"h{number}".encode()).hexdigest()[:30] + "2" for number in range(3)]
# Parameters that the service stores because the caller asked for it. They are no secret to anyone
# who may read them.
NAMES = ("display_name", "name", "description", "user_id")
# The token in the URL of a webhook.
TOKEN = "t0k3n-of-a-receiver"


class Watched:
    """An instance, the secrets that it was told, and the answers that may contain one."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.platform = Platform.new(service)
        self.known = {*CANARIES, *DIGESTS} | {service.key(), self.platform.key}
        self._turn = itertools.cycle(CANARIES)

    def call(self, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> Any:
        """Sends a request. Its answer must not contain a known secret. Secrets that it creates are
        watched from then on."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.service.ports["port"], timeout=60)) as connection:
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            found = json.loads(text) if answer.status < 300 and text.startswith(b"{") else {}
            meant = {found[name] for name in ("password", "api_key", "secret") if found.get(name)}
            meant |= {found[name].partition("#")[2] for name in ("setup_url",) if found.get(name)}
            meant |= {found["token"]} if str(found.get("token")).startswith("mt_") else set()
            # The link to the next page repeats the query of the caller.
            headers_shown = [header for header in answer.getheaders() if header[0].lower() != "link"]
            shown = str(headers_shown) + text.decode(errors="replace")
            for secret in meant:
                shown = shown.replace(secret, "", 1)
            self.known |= meant
            assert not [secret for secret in self.known if secret in shown], (method, target, answer.status)
            return found

    def tell(self, route: Route, account: int) -> None:
        """Sends a secret in every place of a request: header, path, query, each field, and a body
        that is not JSON."""
        key = {"x-api-key": self.platform.key}
        sent = {"content-type": "application/json"}
        path = re.sub(":(account_)?id", str(account), route.path).replace(":domain", self.platform.domain)
        self.call(route.method, path, None, {"x-api-key": next(self._turn)})
        self.call(route.method, path, None, {"authorization": f"Bearer {next(self._turn)}"})
        self.call(
            route.method, path, None, {"authorization": f"Basic {base64.b64encode(next(self._turn).encode()).decode()}"}
        )
        self.call(route.method, path, None, key | {"cookie": next(self._turn), "user-agent": next(self._turn)})
        for place in (f"{path}/{next(self._turn)}", f"/v2/{next(self._turn)}", f"{path}?{next(self._turn)}=1"):
            self.call(route.method, place, None, key)
        fields = {field.name for field in msgspec.structs.fields(route.query)}
        for name in sorted({"nonsense"} | fields - set(NAMES)):
            self.call(route.method, f"{path}?{name}={quote(next(self._turn))}", None, key)
        for raw in (
            f"{{{next(self._turn)}",
            f'{{"x": "{next(self._turn)}"}}',
            f'"{next(self._turn)}"',
            next(self._turn),
        ):
            self.call(route.method, path, raw.encode(), key | sent)
        for field in msgspec.structs.fields(route.body) if route.body else ():
            if field.name in NAMES:
                continue
            for value in (secret := next(self._turn), {secret: 1}, [secret]):
                self.call(route.method, path, json.dumps({field.name: value}).encode(), key | sent)


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with Service.new(log_level="debug", rate_limit="off") as service:
        service.start()
        yield Watched(service)


def use(watched: Watched) -> None:
    """Uses the service: accounts with chosen and generated passwords, good and bad logins, keys,
    refusals."""
    headers = {"x-api-key": watched.platform.key, "content-type": "application/json"}
    body = {"domain": watched.platform.domain, "user_id": "u"}
    for number, password in enumerate(PASSWORDS):
        text = json.dumps(body | {"local_part": f"c{number}", "password": password}).encode()
        made = watched.call("POST", "/v2/email-accounts/create", text, headers)
        watched.call("POST", "/v2/email-accounts/create", text, headers)  # the address is taken
        id_ = made["account"]["id"]
        watched.call("POST", f"/v2/email-accounts/{id_}/password/reset", b"{}", headers)
        text = json.dumps({"password": password}).encode()
        watched.call("POST", f"/v2/email-accounts/{id_}/password/reset", text, headers)
        if number < 3:
            address = made["account"]["address"]
            box = Mailbox(watched.platform, id_, address, password)
            box.receive("hello")
            box.send(address, "hello again")
            box.wait_for("hello again")
            with pytest.raises(Exception, match=r"(?i)auth"):
                imap_login(watched.service, address, KEYS[number])
            text = b'{"name": "phone", "scopes": ["imap"]}'
            app = watched.call("POST", f"/v2/email-accounts/{id_}/app-passwords/create", text, headers)
            imap_login(watched.service, address, app["password"]).logout()
        if number in (3, 4):
            link(watched, id_, f"chosen {password}", headers)
            own_page(watched, id_, made["account"]["address"], f"chosen {password}")
            imap_login(watched.service, made["account"]["address"], f"chosen {password}").logout()
    for number, digest in enumerate(DIGESTS):
        text = json.dumps(body | {"local_part": f"h{number}", "password_hash": f"$2y$04${'a' * 21}.{digest}"}).encode()
        for _ in range(2):  # the second is a retry
            watched.call("POST", "/v2/email-accounts/create", text, headers | {"idempotency-key": f"h{number}"})
        with pytest.raises(Exception, match=r"(?i)auth"):
            imap_login(watched.service, f"h{number}@{watched.platform.domain}", KEYS[number])
    hook(watched, headers)
    mail_token(watched, headers)
    for route in ROUTES:
        if route.gives is not EventStream:  # a stream has no end
            watched.tell(route, id_)
    for _ in range(3):
        watched.call("POST", "/v2/keys", b'{"name": "made"}', headers)


def hook(watched: Watched, headers: dict[str, str]) -> None:
    """Makes a webhook, gives it another secret, and changes and disables it."""
    text = json.dumps({"url": f"https://platform.example/{TOKEN}?key={TOKEN}", "events": ["*"]}).encode()
    for _ in range(2):  # the second is a retry
        made = watched.call("POST", "/v2/webhooks/create", text, headers | {"idempotency-key": "hook"})
    path = f"/v2/webhooks/{made['webhook']['id']}"
    watched.call("POST", f"{path}/secret/rotate", b"{}", headers)
    watched.call("PUT", path, text.replace(b"platform", b"other"), headers)
    watched.call("PUT", path, text.replace(b"https", b"ftp"), headers)
    watched.call("GET", "/v2/webhooks", None, headers)
    route = {"user_id": "u", "forward_mode": "webhook_then_store", "webhook_url": f"https://platform.example/{TOKEN}"}
    watched.call("PUT", f"/v2/domains/{watched.platform.domain}/route", json.dumps(route).encode(), headers)


def mail_token(watched: Watched, headers: dict[str, str]) -> None:
    """Makes a token, and sends it where it belongs and where it does not."""
    for _ in range(2):  # the second is a retry
        text = json.dumps({"user_id": "u"}).encode()
        token = watched.call("POST", "/v2/mail-tokens", text, headers | {"idempotency-key": "token"})["token"]
    bearer = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    assert watched.call("POST", "/mail/sync", b"{}", bearer)["uidvalidity"]
    for wrong in (bearer | {"authorization": f"Bearer {token}x"}, {"x-api-key": token}, {"cookie": token}):
        watched.call("POST", f"/mail/sync?{token}", json.dumps({"token": token}).encode(), bearer | wrong)
    watched.call("GET", f"/v2/email-accounts/{token}/mailboxes", None, bearer)


def link(watched: Watched, id_: int, password: str, headers: dict[str, str]) -> None:
    """Sets a password with a setup link, after a weak one, and makes a link that stays."""
    path, once = f"/v2/email-accounts/{id_}/setup-link", {"idempotency-key": f"link {id_}"}
    for _ in range(2):  # the second is a retry
        token = watched.call("POST", path, b"{}", headers | once)["setup_url"].partition("#")[2]
    watched.call("POST", "/setup/look", json.dumps({"token": token}).encode(), headers)
    for chosen in ("weak", password):
        text = json.dumps({"token": token, "password": chosen}).encode()
        watched.call("POST", "/setup/accept", text, headers)
    watched.call("GET", f"/setup?{token}", None, {})
    watched.call("POST", path, b"{}", headers)


def own_page(watched: Watched, id_: int, address: str, password: str) -> None:
    """Signs in on the owner's page, with wrong passwords too, and sets the same password again."""
    page = Page(Mailbox(watched.platform, id_, address, password))
    for wrong in (KEYS[0], f"wrong {password}", ""):
        page.sign_in(wrong or None, wrong)
    page.sign_in()
    watched.known |= {page.cookie.partition("=")[2], page.told["csrf_token"]}
    assert page.is_open()
    for old in (f"wrong {password}", password):
        page.ask("POST", "/v2/me/password", {"old": old, "new": password})
    made = page.ask("POST", "/v2/me/app-passwords", {"name": "tablet", "scopes": ["imap"]})
    watched.known |= {page.cookie.partition("=")[2], page.told["csrf_token"], made["password"]}
    watched.call("GET", f"/me?{page.told['csrf_token']}", None, {})


def crash(watched: Watched) -> None:
    """Kills the API during a create, and waits until the supervisor has started another API."""
    headers = {"x-api-key": watched.platform.key, "content-type": "application/json"}
    pid = watched.service.pid("api")
    connection = http.client.HTTPConnection("127.0.0.1", watched.service.ports["port"], timeout=60)
    body = {"domain": watched.platform.domain, "user_id": "u", "local_part": "crash", "password": PASSWORDS[0]}
    connection.request("POST", "/v2/email-accounts/create", json.dumps(body).encode(), headers)
    os.kill(pid, signal.SIGKILL)
    connection.close()
    wait_for("another API", lambda: watched.service.pid("api") not in (0, pid) and watched.service.ready())


def places(service: Service) -> Iterator[tuple[str, bytes]]:
    """Every file of the instance, and the arguments and environment of every process."""
    for path, content in [*traces.files(service.data.parent), *traces.processes(service)]:
        if path != service.output:
            yield str(path), content


@pytest.mark.skipif(os.geteuid() != 0, reason="the spool needs Postfix, and Postfix needs root")
def test_it_works(watched: Watched) -> None:
    use(watched)
    crash(watched)
    assert len(CANARIES) == 50
    assert len(watched.known) > 80
    looked = dict(places(watched.service))
    for part in ("api.log", "postroom.db", "dovecot.log", "postfix.log", "/spool/", "/mail/", "/cmdline", "/environ"):
        assert any(part in name for name in looked), part
    assert b"debug" in next(text for name, text in looked.items() if name.endswith("api.log"))
    found = [(name, secret) for name, text in looked.items() for secret in watched.known if secret.encode() in text]
    assert {secret for _, secret in found} == set(DIGESTS)
    assert {Path(name).parent.name for name, _ in found} == {"db"}
    shown = watched.service.output.read_text()
    # The first start prints the key in its block and in its curl command.
    assert shown.count(watched.service.key()) == shown.count("pr_") == 2


def test_correspondents_are_in_one_table(watched: Watched) -> None:
    """Beside the mail itself, and the daemons' logs of it."""
    box = watched.platform.create("correspondent")
    friend = box.address.replace("@", "+a-dear-friend@")
    box.send(friend, "to a friend")
    path = f"/v2/email-accounts/{box.id}/sent"
    wait_for("the fate of the message", lambda: friend in str(box.platform.call("GET", path, None)))
    files = {name for name, text in places(watched.service) if b"a-dear-friend" in text}
    kinds = {name.removeprefix(f"{watched.service.data}/").partition("/")[0] for name in files}
    assert kinds <= {"db", "log", "mail", "spool"}
    assert {Path(name).name for name in files if "/log/" in name} <= {"postfix.log", "dovecot.log"}
    tables = box.platform.sql("SELECT name FROM sqlite_master WHERE type = 'table'")
    found = {name for (name,) in tables if "a-dear-friend" in str(box.platform.sql(f"SELECT * FROM {name}"))}
    assert found == {"sent_recipients"}


def test_the_url_of_a_webhook_is_in_one_table(watched: Watched) -> None:
    """A path or a query may hold a token: logs and events name the host only. A stored answer is
    encrypted."""
    hook(watched, {"x-api-key": watched.platform.key, "content-type": "application/json"})
    found = {name for name, text in places(watched.service) if TOKEN.encode() in text}
    assert {Path(name).parent.name for name in found} == {"db"}
    tables = watched.platform.sql("SELECT name FROM sqlite_master WHERE type = 'table'")
    assert {name for (name,) in tables if TOKEN in str(watched.platform.sql(f"SELECT * FROM {name}"))} == {"webhooks"}


def test_a_leak_is_noticed(watched: Watched) -> None:
    """The search finds a secret in a log."""
    leak = watched.service.data / "log" / "leak.log"
    leak.write_text(f"x {PASSWORDS[7]} y")
    assert any(PASSWORDS[7].encode() in text for _, text in places(watched.service))
    leak.unlink()
