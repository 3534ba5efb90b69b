"""Revocations that come together make one request to doveadm, and each gets its own result.
tests/mail tests what doveadm itself does with the request."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from postroom.mailplane.dovecot import doveadm, kick_batcher
from postroom.mailplane.dovecot.doveadm import DoveadmEndpoint, Failed
from postroom.mailplane.dovecot.kick_batcher import KickBatcher
from postroom.mailplane.internal_addresses import login_mask

HERE, THERE = DoveadmEndpoint("key", address="192.0.2.1"), DoveadmEndpoint("key", address="192.0.2.2")


WHO = ["doveadmResponse", [], "who"]


class Asked:
    """A doveadm endpoint that records its requests. `sessions` maps each login with a session to
    the number of kicks that the session still survives."""

    def __init__(self) -> None:
        self.questions: list[tuple[DoveadmEndpoint, list[str]]] = []
        self.sessions: dict[str, int] = {}  # login -> remaining kicks
        self.failure: Exception | None = None

    async def __call__(self, endpoint: DoveadmEndpoint, commands: Sequence[Sequence[Any]]) -> Any:
        if commands[0][0] == "who":
            self.questions.append((endpoint, ["who"]))
            await asyncio.sleep(0)
            there = [{"username": mask.replace("*", "")} for mask, left in self.sessions.items() if left > 0]
            return [["doveadmResponse", there, "who"]] * 2
        names = [name for _, _, name in commands]
        self.questions.append((endpoint, list(dict.fromkeys(names))))
        assert sorted(names) == sorted(self.questions[-1][1] * 2)  # each login is kicked twice
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        return [self._answer(name) for name in names]

    def _answer(self, name: str) -> list[Any]:
        self.sessions[name] = self.sessions.get(name, 0) - 1
        if self.sessions[name] >= 0:
            return ["doveadmResponse", [], name]
        return ["error", {"exitCode": doveadm.NO_SESSION}, name]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    found = Asked()
    monkeypatch.setattr(doveadm, "ask", found)
    return found


def run(test: Callable[[KickBatcher], Any]) -> Any:
    async def go() -> Any:
        return await test(KickBatcher())

    return asyncio.run(go())


def test_those_that_come_together_share_a_question(asked: Asked) -> None:
    async def test(ends: KickBatcher) -> None:
        assert await asyncio.gather(*(ends.end(HERE, [(id_, 1)]) for id_ in range(10))) == [True] * 10
        assert await ends.end(HERE, [(10, 1), (10, 2)])

    run(test)
    assert asked.questions == [
        (HERE, ["who"]),
        (HERE, [login_mask(10, 1), login_mask(10, 2)]),
    ]


def test_of_many_only_those_who_are_logged_in_are_kicked(asked: Asked) -> None:
    """An app password's sessions in every generation, sessions of one protocol or of the main
    password, and no session of another account."""
    asked.sessions = {login_mask(11, 1): 1, login_mask(2, 1): 1}
    asked.sessions |= dict.fromkeys(("3@7.c5.imap.acct.internal", "3@1.c5.imap.acct.internal"), 1)
    asked.sessions |= dict.fromkeys(("12@1.c6.imap.acct.internal", "12@1.c6.pop3.acct.internal"), 1)
    asked.sessions |= dict.fromkeys(("13@1.sieve.acct.internal", "13@1.c7.imap.acct.internal"), 1)
    logins: list[kick_batcher.Login] = [(1, 1), (2, 1), (3, 0, 5, None), (12, 1, None, "pop3"), (13, 1, 0, None)]

    async def test(ends: KickBatcher) -> None:
        assert await ends.end(HERE, logins)

    run(test)
    some = ["3@*.c5.*acct.internal", "12@1.*pop3.acct.internal", "13@1.sieve.acct.internal"]
    assert asked.questions[1] == (HERE, [login_mask(2, 1), *some])


def test_each_dovecot_is_asked_for_its_own(asked: Asked) -> None:
    async def test(ends: KickBatcher) -> None:
        assert await asyncio.gather(ends.end(HERE, [(1, 1)]), ends.end(THERE, [(2, 1)])) == [True, True]

    run(test)
    assert asked.questions == [(HERE, [login_mask(1, 1)]), (THERE, [login_mask(2, 1)])]


def test_too_many_are_several_questions(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kick_batcher, "MANY", 4)

    async def test(ends: KickBatcher) -> None:
        assert all(await asyncio.gather(*(ends.end(HERE, [(id_, 1)]) for id_ in range(10))))

    run(test)
    assert [names for _, names in asked.questions] == [["who"], ["who"], [login_mask(8, 1), login_mask(9, 1)]]


def test_who_is_gone_does_not_wait_for_who_stays(asked: Asked) -> None:
    asked.sessions[login_mask(2, 1)] = 7

    async def test(ends: KickBatcher) -> None:
        first, second = (asyncio.create_task(ends.end(HERE, [(id_, 1)])) for id_ in (1, 2))
        assert await first
        assert not second.done()
        assert await second

    run(test)
    assert [names for _, names in asked.questions[1:]] == [[login_mask(2, 1)]] * 3


@pytest.mark.parametrize("failure", [OSError("gone"), Failed("no"), ValueError("not JSON")], ids=repr)
def test_a_failure_is_told_to_all_who_still_wait(asked: Asked, failure: Exception) -> None:
    async def test(ends: KickBatcher) -> None:
        asked.failure = failure
        assert await asyncio.gather(*(ends.end(HERE, [(id_, 1)]) for id_ in range(3))) == [False] * 3
        asked.failure = None
        assert await ends.end(HERE, [(1, 1)])

    run(test)


def test_those_that_were_gone_before_a_failure_are_gone(asked: Asked) -> None:
    asked.sessions[login_mask(2, 1)] = 9

    async def test(ends: KickBatcher) -> None:
        first, second = (asyncio.create_task(ends.end(HERE, [(id_, 1)])) for id_ in (1, 2))
        assert await first
        asked.failure = Failed("no")
        assert not await second

    run(test)


def test_who_goes_away_takes_nobody_with_him(asked: Asked) -> None:
    async def test(ends: KickBatcher) -> None:
        first, second = (asyncio.create_task(ends.end(HERE, [(id_, 1)])) for id_ in (1, 2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second
        with pytest.raises(asyncio.CancelledError):
            await first

    run(test)
    assert asked.questions == [(HERE, [login_mask(1, 1), login_mask(2, 1)])]


def test_a_login_that_two_ask_for_is_kicked_once_for_both(asked: Asked) -> None:
    async def test(ends: KickBatcher) -> None:
        assert await asyncio.gather(ends.end(HERE, [(1, 1)]), ends.end(HERE, [(1, 1), (2, 1)])) == [True, True]

    run(test)
    assert asked.questions == [(HERE, [login_mask(1, 1), login_mask(2, 1)])]


@pytest.mark.parametrize(
    "answer", [[], [WHO], [7, 7], [["error", {}, "who"]] * 2, [["doveadmResponse", {}, "who"]] * 2, [[*WHO, 1]] * 2]
)
def test_an_answer_about_who_is_logged_in_that_makes_no_sense(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    async def ask(_endpoint: DoveadmEndpoint, commands: Sequence[Sequence[Any]]) -> Any:
        assert commands[0][0] == "who"
        return answer

    async def test(ends: KickBatcher) -> None:
        assert not await ends.end(HERE, [(id_, 1) for id_ in range(10)])

    monkeypatch.setattr(doveadm, "ask", ask)
    run(test)
