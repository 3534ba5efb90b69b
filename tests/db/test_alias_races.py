"""Changes of an account's addresses at the same time on PostgreSQL: each address has one owner, and
the delivery script names the addresses that are the account's own in the end."""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from postroom.accounts import alias_rests, aliases, delivery_scripts, renames, vacation
from postroom.accounts import commands as accounts
from postroom.accounts.aliases import Alias, CreateAlias, UpdateAlias
from postroom.accounts.delivery_rules import Vacation
from postroom.accounts.model import Account
from postroom.accounts.renames import Rename
from postroom.actor import Actor
from postroom.db import Tx
from postroom.domains import commands as domains
from postroom.errors import Refused
from tests.db import test_postgres_races
from tests.db.test_postgres_races import World

Work = Callable[[Tx], Any]
url, world = test_postgres_races.url, test_postgres_races.world
LAPSE = "UPDATE aliases SET expires_at = 1 WHERE id = :id RETURNING id"
SCRIPT = "SELECT script FROM delivery_scripts WHERE account_id = :id"
# Addresses with two owners, or with none.
STRAY = """
SELECT domain_id, local_part FROM addresses
WHERE (account_id IS NULL) = (alias_id IS NULL) AND (rests_until IS NULL OR alias_id IS NOT NULL)"""
_numbers = itertools.count(1)


@dataclass
class Case:
    """Two accounts with a vacation and an alias each of `ann` that changes, goes and expires."""

    world: World
    ann: Account
    ben: Account
    changed: Alias
    gone: Alias
    lapsed: Alias

    def create(self) -> Work:
        return create(self.world, f"new{next(_numbers)}", self.ann)

    def change(self) -> Work:
        command = UpdateAlias(account_ids=(self.ben.id,))
        return lambda tx: aliases.update(tx, self.world.actor, self.changed.id, None, command)

    def share(self) -> Work:
        command = UpdateAlias(account_ids=(self.ben.id, self.ann.id))
        return lambda tx: aliases.update(tx, self.world.actor, self.changed.id, None, command)

    def delete(self) -> Work:
        return lambda tx: aliases.delete(tx, self.world.actor, self.gone.id, None)

    def expire(self) -> Work:
        return lambda tx: alias_rests.expire(tx, self.lapsed.id)

    def rename(self) -> Work:
        command = Rename(f"name{next(_numbers)}", None)
        return lambda tx: renames.rename(tx, self.world.actor, self.ann.id, None, command)

    def reply(self) -> Work:
        return reply(self.world, self.ann, f"text {next(_numbers)}")

    def remove_other(self) -> Work:
        return self.world.delete(self.ben)


WORKS = (Case.create, Case.change, Case.share, Case.delete, Case.expire, Case.rename, Case.reply, Case.remove_other)


def create(world: World, local_part: str, *owners: Account) -> Callable[[Tx], Alias]:
    ids = tuple(owner.id for owner in owners)
    command = CreateAlias(world.domain, local_part, "u", ids, may_send=True)
    return lambda tx: aliases.create(tx, world.actor, command)


def reply(world: World, account: Account, text: str) -> Work:
    return lambda tx: vacation.put(tx, world.actor, account.id, None, Vacation(True, text=text))


def case(world: World) -> Case:
    number = next(_numbers)
    ann, ben = world.made(f"ann{number}", f"ben{number}")
    for account in (ann, ben):
        world.do(reply(world, account, "away"))
    made = [world.do(create(world, f"{name}{number}", ann)) for name in ("changed", "gone", "lapsed")]
    world.do(lambda tx: tx.all(LAPSE, id=made[2].id))
    return Case(world, ann, ben, *made)


@pytest.mark.parametrize("first", WORKS, ids=lambda work: work.__name__)
def test_two_changes_at_once(world: World, first: Callable[[Case], Work]) -> None:
    for second in (Case.create, Case.delete, Case.rename):
        now = case(world)
        assert "busy" not in world.beside(first(now), second(now))
        for account in (now.ann, now.ben):
            own = world.do(partial(_own, actor=world.actor, id_=account.id))
            if own is not None:
                assert _named(world, account.id) == own, (first.__name__, second.__name__)
    assert world.do(lambda tx: tx.all(STRAY)) == []


def _own(tx: Tx, actor: Actor, id_: int) -> set[str] | None:
    """The own addresses of an account; None if the account is deleted."""
    try:
        return set(delivery_scripts.answered(tx, accounts.get(tx, actor, id_, None)))
    except Refused:
        return None


def _named(world: World, id_: int) -> set[str]:
    (row,) = world.do(lambda tx: tx.all(SCRIPT, id=id_))
    (found,) = re.findall(r":addresses \[(.*?)\]", row[0])
    return {text.strip('"') for text in found.split(", ")}


@pytest.mark.parametrize("alias_first", [True, False])
@pytest.mark.parametrize("is_restored", [True, False])
def test_an_alias_and_the_end_of_its_domain(world: World, alias_first: bool, is_restored: bool) -> None:
    """The alias lies on another domain than its account, and is made or comes back."""
    (ann,) = world.made(f"ann{next(_numbers)}")
    own = world.do(world.own("own"))
    make: Work = partial(
        aliases.create, actor=world.actor, command=CreateAlias(own.name, "sales", "u", (ann.id,), True)
    )
    if is_restored:
        world.do(make)
        world.do(world.delete(ann))
        make = world.restore(ann)
    works: list[Work] = [make, lambda tx: domains.delete(tx, world.actor, own)]
    found = world.beside(*(works if alias_first else works[::-1]))
    assert ("domain_not_empty" in found) == alias_first
    living = "SELECT id FROM aliases WHERE domain_id = :id AND rested_at IS NULL"
    assert len(world.do(lambda tx: tx.all(living, id=own.id))) == alias_first
