"""While the database cannot answer: 503 and Retry-After, never 500. Afterwards everything works
again."""

import sqlite3
from pathlib import Path

import psycopg
import pytest

from postroom.db import migrate
from postroom.db import sqlite as sqlite_engine
from postroom.settings import Settings
from tests.harness.postgres import PostgresServer
from tests.harness.server import ApiServer

PATH = "/v2/email-accounts"
OPEN = Settings(rate_limit="off", metrics="loopback")


def test_sqlite_locked_by_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_engine, "BUSY_SECONDS", 0.2)
    migrate(f"sqlite:///{tmp_path / 'postroom.db'}")
    with ApiServer.start(f"sqlite:///{tmp_path / 'postroom.db'}") as api:
        tenant = api.new_tenant()
        account = tenant.account("first")
        other = sqlite3.connect(tmp_path / "postroom.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for refused in (
            tenant.create("second"),
            tenant.put(f"{PATH}/{account['id']}", {"status": "disabled"}),
            tenant.post(f"{PATH}/delete", {"id": account["id"]}),
            tenant.post(f"{PATH}/{account['id']}/password/reset", {}),
        ):
            assert (refused.status, refused.code) == (503, "busy")
            assert int(refused.headers["retry-after"]) >= 1
        assert api.ended == []
        assert tenant.full(account["id"]) == account
        assert api.request("GET", "/readyz").status == 200
        other.execute("ROLLBACK")
        other.close()
        assert tenant.create("second").status == 201
        assert len(tenant.get(PATH).json["items"]) == 2


def test_postgresql_goes_away_and_comes_back(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    name = url.rpartition("/")[2]
    migrate(url)
    with ApiServer.start(url, OPEN) as api, psycopg.connect(postgres.url("postgres"), autocommit=True) as operator:
        tenant = api.new_tenant()
        account = tenant.account("first")
        operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        operator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        for refused in (tenant.get(PATH), tenant.create("second"), tenant.get("/v2/stats")):
            assert (refused.status, refused.code) == (503, "busy")
            assert int(refused.headers["retry-after"]) >= 1
        assert api.request("GET", "/readyz").json["parts"]["database"] != "ok"
        assert api.request("GET", "/healthz").status == 200
        metrics = api.request("GET", "/metrics")
        assert metrics.status == 200
        assert 'postroom_part_up{part="database"} 0.0' in metrics.text
        assert "postroom_accounts" not in metrics.text
        operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
        assert tenant.create("second").json["account"]["isDefault"] is False
        for _ in range(11):  # uses every connection for reads
            assert tenant.full(account["id"]) == account
