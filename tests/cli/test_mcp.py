"""`postroom mcp` as an agent sees it: the client of the MCP library starts it and talks to it over
stdin and stdout."""

import asyncio
import json
import re
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from mcp import Client, StdioServerParameters, stdio_client
from mcp.types import CallToolResult, Tool

from postroom.api.route import Route
from postroom.client.catalog import catalog
from tests.cli.program import environment, names_of, route_of
from tests.harness.hashes import HASHES
from tests.harness.server import Tenant
from tests.harness.service import COMMAND, LONG

Work = Callable[[Client], Awaitable[Any]]


def talk(
    tenant: Tenant,
    home: Path,
    work: Work,
    *options: str,
    mode: Literal["auto", "legacy"] = "auto",
    key: str | None = None,
) -> str:
    """Runs an agent's session. Returns everything that the server wrote to stderr."""

    async def session(log: Any) -> None:
        surroundings = environment(tenant, home) | ({"POSTROOM_API_KEY": key} if key else {})
        server = StdioServerParameters(command=str(COMMAND), args=["mcp", *options], env=surroundings)
        async with Client(stdio_client(server, errlog=log), mode=mode) as client:
            await work(client)

    with (home / "stderr").open("w+") as log:
        asyncio.run(asyncio.wait_for(session(log), LONG))
        log.seek(0)
        return log.read()


async def tools_of(client: Client) -> dict[str, Tool]:
    return {tool.name: tool for tool in (await client.list_tools()).tools}


def data(result: CallToolResult) -> dict[str, Any]:
    found: dict[str, Any] = result.structured_content
    assert result.is_error is False, found
    assert json.loads(result.content[0].text) == found  # type: ignore[union-attr]
    return found


def test_each_route_is_a_tool(tenant: Tenant, tmp_path: Path) -> None:
    async def work(client: Client) -> None:
        tools = await tools_of(client)
        offered = {name: entry for name, entry in catalog().items() if not entry.gives_bytes and not entry.is_stream}
        assert offered.pop("create_mail_token")  # decision 0338
        assert list(tools) == list(offered)
        for name, entry in offered.items():
            _check(route_of(entry), tools[name])
        assert client.instructions

    talk(tenant, tmp_path, work)


def _check(route: Route, tool: Tool) -> None:
    schema = tool.input_schema
    names = names_of(route) | ({"idempotency_key"} if route.writes else set())
    names |= {"domain"} if tool.name == "get_mta_sts_policy" else set()
    names = {name.rstrip("_") for name in names}
    assert set(schema["properties"]) == names
    assert schema["additionalProperties"] is False
    assert all(part["description"] for part in schema["properties"].values())
    for secret in {
        "password",
        "password_hash",
        "webhook_secret",
        *(["token"] if tool.name != "sync_mailbox" else []),
    } & names:
        assert schema["properties"][secret]["format"] == "password"
    hints = tool.annotations
    assert hints
    assert hints.read_only_hint == (route.method == "GET")
    assert not (hints.read_only_hint and hints.destructive_hint)
    assert hints.idempotent_hint is not None
    assert hints.open_world_hint == (tool.name in ("verify_domain", "send_message"))
    assert tool.description
    assert "  " not in tool.description, "a line of the source shows"
    assert ("Show it to the user once" in tool.description) == (catalog()[tool.name].secrets != ())


def test_what_destroys_says_so() -> None:
    from postroom.mcp import tools

    hints = {name: tools.tool(entry).annotations for name, entry in catalog().items()}
    destructive = {name for name, one in hints.items() if one and one.destructive_hint}
    assert {"delete_account", "delete_domain", "delete_key", "reset_password", "update_account"} <= destructive
    assert not {"create_account", "restore_account", "create_key", "verify_domain"} & destructive
    assert not {name for name, one in hints.items() if one and one.idempotent_hint} & {"create_key", "reset_password"}


def test_mail_is_labeled_as_untrusted(tenant: Tenant, tmp_path: Path) -> None:
    id_ = tenant.account()["id"]

    async def work(client: Client) -> None:
        tools = await tools_of(client)
        assert {name for name, tool in tools.items() if "untrusted content" in (tool.description or "")} == {
            "list_messages",
            "get_message",
        }
        for name, more in (("list_messages", {"from": "ann"}), ("get_message", {"message_id": "1.1"})):
            found = await client.call_tool(name, {"id": id_} | more)
            answer, label = found.content
            assert "untrusted content" in label.text  # type: ignore[union-attr]
            assert answer.text.startswith('{"untrusted":"The answer contains e-mail from strangers')  # type: ignore[union-attr]
            assert "private" in json.dumps(data(found))
        assert data(await client.call_tool("list_messages", {"id": id_}))["next_before_uid"] == 1

    talk(tenant, tmp_path, work)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_it_works(tenant: Tenant, tmp_path: Path, mode: Literal["auto", "legacy"]) -> None:
    """A mailbox from creation to deletion, with the current and the legacy protocol."""
    passwords = []

    async def work(client: Client) -> None:
        address = {"domain": tenant.domain, "local_part": f"agent-{mode}", "user_id": "u1"}
        result = await client.call_tool("create_account", address)
        made = data(result)
        passwords.append(made["password"])
        assert made["shown_once"]["field"] == "password"
        for_user, for_agent = result.content
        assert (for_user.annotations.audience, for_agent.annotations.audience) == (["user"], ["assistant"])  # type: ignore[union-attr]
        assert made["password"] not in for_agent.text  # type: ignore[union-attr]
        id_ = made["account"]["id"]
        assert made["account"] == tenant.full(id_)
        off = {"protocols": {"pop3": False}, "main_password": False}
        changed = data(await client.call_tool("update_account", {"id": id_, "status": "suspended"} | off))["account"]
        assert (changed["status"], changed["protocols"]["pop3"], changed["main_password"]) == (
            "suspended",
            False,
            False,
        )
        reset = data(await client.call_tool("reset_password", {"id": id_, "password": "chosen by the user 42"}))
        passwords.append(reset["password"])
        moved = await client.call_tool("reset_password", {"id": id_, "password_hash": HASHES[0]})
        assert (data(moved)["password"], len(moved.content)) == (None, 1)  # nothing to show once
        owner = address | {"local_part": f"owner-{mode}", "credential": "setup_link"}
        for link in (
            data(await client.call_tool("create_account", owner)),
            data(await client.call_tool("create_setup_link", {"id": id_})),
        ):
            assert link["shown_once"]["field"] == "setup_url"
            passwords.append(link["setup_url"].partition("#")[2])
        await client.call_tool("set_limits", {"user_id": "u1", "accounts": 7})
        each = {"recipients_per_hour": 5, "recipients_per_day": None}
        await client.call_tool("set_limits", {"user_id": "u1", "accounts": None, "domains": 3, "send_limits": each})
        limits = data(await client.call_tool("get_limits", {"user_id": "u1"}))["limits"]
        assert {name: n for name, n in limits["send_limits"].items() if n is not None} == {"recipients_per_hour": 5}
        assert {name: limit for name, limit in limits.items() if isinstance(limit, int)} == {"domains": 3}
        assert limits["accounts"] is None
        assert data(await client.call_tool("get_mta_sts_policy", {"domain": tenant.domain}))["text"]
        key = data(await client.call_tool("create_key", {"scopes": ["stats:read"], "name": "agent"}))
        passwords.append(key["api_key"])
        assert key["shown_once"]["field"] == "api_key"
        assert data(await client.call_tool("delete_account", {"id": id_}))["deleted"]["deleted_at"]

    said = talk(tenant, tmp_path, work, mode=mode)
    assert passwords[1] == "chosen by the user 42"
    assert [secret for secret in (*passwords, HASHES[0], tenant.key) if secret in said] == []
    assert {event["type"] for event in tenant.events()} >= {"account.created", "account.password_reset", "key.created"}
    kept = "SELECT count(*) FROM idempotent_answers WHERE organization_id = :organization"
    row = tenant.api.database.write_sync(lambda tx: tx.one(kept, organization=tenant.organization_id))
    assert row == (10,)  # each write of this session had an Idempotency-Key


def test_lists_writes_and_errors(tenant: Tenant, tmp_path: Path) -> None:
    for number in range(3):
        tenant.account(f"a{number}")

    async def work(client: Client) -> None:
        page = data(await client.call_tool("list_accounts", {"limit": 2}))
        more = data(await client.call_tool("list_accounts", {"limit": 2, "after": page["next_after"]}))
        assert [item["local_part"] for item in (*page["items"], *more["items"])] == ["a0", "a1", "a2"]
        assert more["next_after"] is None
        once = {"name": "once", "idempotency_key": "k 1"}
        first, again = [data(await client.call_tool("create_key", once)) for _ in range(2)]
        assert first == again
        for arguments, code, fields in (
            ({"domain": tenant.domain, "local_part": "a0", "user_id": "user_123"}, "address_exists", ["local_part"]),
            (
                {"domain": tenant.domain, "local_part": "a+b", "password": "hunter2", "user_id": "u"},
                "invalid_request",
                ["local_part", "password"],
            ),
            ({"domain": tenant.domain}, "invalid_arguments", []),
            ({"domain": tenant.domain, "local_part": "x", "colour": "red"}, "invalid_arguments", []),
            ({"domain": tenant.domain, "local_part": "x", "password": 1234567}, "invalid_arguments", []),
            ({"domain": tenant.domain, "local_part": "x", "protocols": {"lmtp": True}}, "invalid_arguments", []),
        ):
            result = await client.call_tool("create_account", arguments)
            problem = result.structured_content
            assert (result.is_error, problem["code"]) == (True, code)
            assert [field["field"] for field in problem.get("errors", [])] == fields
            assert problem["code"] in result.content[0].text  # type: ignore[union-attr]
            assert problem["detail"] in result.content[0].text  # type: ignore[union-attr]
            assert not re.search("hunter2|1234567", str(result))

    talk(tenant, tmp_path, work)


def test_read_only(tenant: Tenant, tmp_path: Path) -> None:
    id_ = tenant.account()["id"]

    async def work(client: Client) -> None:
        tools = await tools_of(client)
        offered = {name for name, entry in catalog().items() if not entry.gives_bytes and not entry.is_stream}
        assert set(tools) == {name for name in offered if catalog()[name].reads}
        assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools.values())
        assert data(await client.call_tool("get_account", {"id": id_}))["account"]["id"] == id_
        refused = await client.call_tool("delete_account", {"id": id_})
        assert (refused.is_error, refused.structured_content["code"]) == (True, "unknown_tool")

    (tmp_path / "key").write_text(f"{tenant.key}\n")
    talk(tenant, tmp_path, work, "--read-only", "--key-file", "~/key", key="pr_other")
    assert tenant.full(id_)["deleted_at"] is None


def test_a_wrong_key_is_reported(tenant: Tenant, tmp_path: Path) -> None:
    async def work(client: Client) -> None:
        refused = await client.call_tool("get_stats", {})
        assert (refused.is_error, refused.structured_content["code"]) == (True, "unauthorized")

    talk(tenant, tmp_path, work, key="pr_wrong")


def test_it_does_not_start_without_a_key(tenant: Tenant, tmp_path: Path) -> None:
    surroundings = environment(tenant, tmp_path) | {"POSTROOM_API_KEY": ""}
    for options, says in (([], "POSTROOM_API_KEY"), (["--key-file", "-"], "stdin")):
        done = subprocess.run(
            [COMMAND, "mcp", *options], env=surroundings, input="", capture_output=True, text=True, timeout=LONG
        )
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert says in done.stderr
