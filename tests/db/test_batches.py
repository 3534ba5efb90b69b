"""A batch of jobs gives the same results and rows as the jobs one after the other in their own
transactions, whichever jobs fail and wherever the failure shows."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from postroom.db import Tx
from postroom.db.writer import Writer, run_alone
from postroom.errors import Refused
from tests.harness.writers import WatchedEngine, held, sent

Job = list[tuple[str, str]]
KEYS = ("a", "b", "c")
STEPS = ("run", "wait", "add", "copy", "null", "nul", "swallow", "refuse")
TABLES = ("alone", "together")


def job(table: str, steps: Job) -> Callable[[Tx], list[Any]]:
    """A job that returns what it has read. Each step is one statement or a refusal."""
    insert = f"INSERT INTO {table} (name, value) VALUES (:name, :value)"

    def work(tx: Tx) -> list[Any]:
        seen: list[Any] = []
        for step, key in steps:
            if step == "run":
                tx.run(insert, name=key, value=1)
            elif step == "wait":
                seen.append(tx.one(f"{insert} RETURNING value", name=key, value=1))
            elif step == "add":
                tx.run(f"UPDATE {table} SET value = value + 1 WHERE name = :name", name=key)
            elif step == "copy":
                seen.append(tx.one(f"SELECT COALESCE(SUM(value), 0) FROM {table}"))
                tx.run(f"UPDATE {table} SET value = :value WHERE name = :name", name=key, value=int(seen[-1][0]) + 1)
            elif step == "null":
                tx.run(insert, name=f"null {key}", value=None)
            elif step == "nul":
                tx.run(insert, name=f"\0{key}", value=1)
            elif step == "swallow":
                try:
                    tx.one(f"{insert} RETURNING value", name=f"swallow {key}", value=None)
                except Exception as error:
                    seen.append(type(error))
            else:
                raise Refused("not_found", key)
        return seen

    return work


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        return type(error)


def test_a_batch_is_its_jobs_one_after_the_other(database_url: str) -> None:
    engine = WatchedEngine(database_url)

    async def batch(jobs: list[Job]) -> list[Any]:
        async with held(writer):
            tasks = await sent(writer, *(job("together", steps) for steps in jobs))
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        return [type(answer) if isinstance(answer, BaseException) else answer for answer in answers]

    @given(st.lists(st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from(KEYS)), max_size=4), max_size=6))
    @example([[("run", "a")], [("run", "a")], [("run", "b")]])
    @example([[("wait", "a"), ("null", "a")], [("refuse", "a")], [("wait", "a")]])
    @example([[("wait", "a"), ("nul", "a")], [("wait", "a")], [("wait", "b"), ("add", "a")]])
    @settings(max_examples=150)
    def check(jobs: list[Job]) -> None:
        for table in TABLES:
            run_alone(alone, lambda tx, table=table: tx.run(f"DELETE FROM {table}"))  # type: ignore[misc]
        before = engine.watched.commits
        found = asyncio.run(batch(jobs))
        assert engine.watched.commits - before <= 2, "one commit for the held job, one for the batch"
        expected = [outcome(lambda steps=steps: run_alone(alone, job("alone", steps))) for steps in jobs]  # type: ignore[misc]
        assert found == expected
        rows = [
            run_alone(alone, lambda tx, table=table: tx.all(f"SELECT name, value FROM {table} ORDER BY name"))  # type: ignore[misc]
            for table in TABLES
        ]
        assert rows[0] == rows[1]

    with closing(engine.engine.writer()) as alone:
        for table in TABLES:
            sql = f"CREATE TABLE {table} (name TEXT PRIMARY KEY, value BIGINT NOT NULL)"
            run_alone(alone, lambda tx, sql=sql: tx.run(sql))  # type: ignore[misc]
        writer = Writer(engine.watched)
        try:
            check()
        finally:
            writer.close()
            for table in TABLES:
                run_alone(alone, lambda tx, table=table: tx.run(f"DROP TABLE {table}"))  # type: ignore[misc]
