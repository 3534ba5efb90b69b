"""Creates the fixtures for the schema of this checkout, at a release: `.venv/bin/python -m
tests.upgrade.make`"""

import os
import sqlite3
import subprocess
from pathlib import Path

import psycopg

from postroom.db.migrations import SCHEMA
from tests.harness.hashes import HASHES
from tests.harness.postgres import PostgresServer
from tests.harness.service import Service
from tests.mail.platform import Platform

HERE = Path(__file__).parent


def fill(service: Service) -> None:
    """Creates some of everything that the product can store, through the product itself."""
    service.start()
    platform = Platform.new(service)
    owned = Platform.new(service, user="u 2")
    boxes = [platform.create(name, user_id=f"user_{name}") for name in ("first", "second", "third", "fourth", "fifth")]
    owned.create("sixth", user_id="u 2", display_name="Zoë 'x'; -- 雪")
    boxes[0].reset()
    path = f"/v2/email-accounts/{boxes[0].id}"
    platform.call("PUT", f"{path}/forwarding", {"enabled": True, "to": ["ann@else.example"]})
    platform.call("PUT", f"{path}/vacation", {"enabled": True, "text": "away"})
    platform.call("POST", f"{path}/app-passwords/create", {"name": "phone", "scopes": ["imap"]})
    platform.call("POST", f"{path}/setup-link", {})
    platform.sign_in(boxes[0].id)
    hook = {"url": "https://platform.example/hook", "events": ["account.*"], "user_id": "user_first"}
    platform.call("POST", "/v2/webhooks/create", hook)
    hook = {"url": "https://platform.example/mail", "events": ["message.received"]}
    platform.call("POST", "/v2/webhooks/create", hook)
    boxes[0].update(display_name="of a delivery")
    boxes[1].update(status="suspended")
    boxes[2].update(status="disabled")
    boxes[3].delete()
    for local_part, user, box in (("alias", "first", boxes[0]), ("*", "fifth", boxes[4])):
        body = {"domain": platform.domain, "local_part": local_part, "user_id": f"user_{user}"}
        platform.call("POST", "/v2/email-aliases/create", {**body, "account_ids": [box.id]})
    boxes[1].update(local_part="renamed")
    platform.call("POST", f"/v2/email-accounts/{boxes[4].id}/password/reset", {"password_hash": HASHES[0]})
    boxes[4].update(quota_bytes=10**9, quota_messages=10**5, protocols={"pop3": False}, main_password=False)
    boxes[4].update(may_send=False, send_limits={"recipients_per_hour": 5})
    platform.call("POST", "/v2/domain", {"domain": "claim.example", "user_id": "user_first"})
    platform.call("POST", "/v2/domains/claim.example/dkim/rotate", {"user_id": "user_first"})
    consent = {"user_id": "user_first", "subdomain": f"shop.{platform.domain}"}
    platform.call("POST", f"/v2/domains/{platform.domain}/consent", consent)
    for table, columns, values in (
        ("login_networks", "account_id, network, last_at", ":id, '192.0.2.1', :later"),
        ("login_failures", "account_id, network, minute, failures", ":id, '192.0.2.2', :later, 100"),
        ("login_bans", "network, from_at, until_at, ban_ms", "'192.0.2.2', 1, :later, 60000"),
        ("full_periods", "account_id, name, period, in_a_row", ":id, 'recipients_per_hour', 1, 1"),
        ("known_recipients", "account_id, recipient_hash, first_day, last_day", ":id, -7, 1, :later"),
        ("sent_counts", "organization_id, user_id, account_id, hour, in_hour, in_day", "1, 'u', :id, 1, 2, 3"),
        ("login_attacks", "account_id, started_at, checked_at, failures", ":id, 1, :later, 100"),
        ("sent_days", "account_id, day, status, recipients", ":id, 20000, 'delivered', 7"),
        (
            "sent_messages",
            "account_id, node_id, queue_id, message_id, sent_at, told_at",
            ":id, 0, '4jd31V4G43zK3Wl', '<1@mail.example>', 1, :later",
        ),
        (
            "sent_recipients",
            "account_id, sent_message_id, recipient, status, smtp_code, enhanced_code, told_at",
            ":id, 1, 'ann@else.example', 'delayed', 450, '4.2.0', :later",
        ),
        (
            "sent_handovers",
            "account_id, queue_id, target_id, sent_message_id, recipient, told_at",
            ":id, '4jd31V4G43zK3Wm', 1, 1, 'ann@else.example', :later",
        ),
    ):
        sql = f"INSERT INTO {table} ({columns}) VALUES ({values}) RETURNING 1"
        platform.sql(sql, later=2**42, **({"id": boxes[0].id} if ":id" in values else {}))
    for arguments in (
        ("keys", "create", "--name", "narrow", "--domain", platform.domain, "--network", "192.0.2.0/24"),
        ("keys", "revoke", "2"),
        ("limits", "set", "--accounts", "100", "--quota-bytes", "2000000000", "--user", "user_first"),
        ("limits", "set", "--recipients-per-hour", "50", "--total-recipients-per-day", "900"),
        ("domains", "create", "pending.test"),
        ("domains", "create", "suspended.test", "--active"),
        ("domains", "suspend", "suspended.test"),
    ):
        service.run(*arguments, "--organization", platform.organization).check_returncode()
    service.stop()


def main(target: Path = HERE) -> None:
    name = sorted(path.stem for path in SCHEMA.glob("0*.sql"))[-1]
    with Service.new(mail="off") as service:
        fill(service)
        with sqlite3.connect(service.data / "db" / "postroom.db") as database:
            text = "\n".join(database.iterdump())
        (target / f"{name}.sqlite.sql").write_text(text + "\n", encoding="utf-8")
    with PostgresServer.start() as server:
        url = server.new_database()
        with Service.new(mail="off", database_url=url) as service:
            fill(service)
        dump = ["pg_dump", "--inserts", "--no-owner", "--no-privileges", "-d", url]
        text = subprocess.run(dump, check=True, capture_output=True, text=True, env=os.environ | {"LANG": "C"}).stdout
        lines = [line for line in text.splitlines() if line and not line.startswith(("--", "\\", "SET "))]
        lines = [line for line in lines if "set_config('search_path'" not in line]
        (target / f"{name}.postgresql.sql").write_text("\n".join(lines) + "\n", encoding="utf-8")


def load(fixture: Path, url: str) -> None:
    """Creates a database from a fixture."""
    text = fixture.read_text(encoding="utf-8")
    if url.startswith("sqlite:///"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as database:
            database.executescript(text)
    else:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(text.encode())


if __name__ == "__main__":
    main()
