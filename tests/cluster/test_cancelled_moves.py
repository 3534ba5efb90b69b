"""Moves that are cancelled: the account is open where it was, with all its mail, and nothing of
it is elsewhere."""

import asyncio
import json
import random
import shutil
import subprocess
import threading

import pytest

from postroom.mailplane.dovecot import doveadm, maildir
from postroom.mailplane.dovecot.doveadm import DoveadmEndpoint
from postroom.mailplane.internal_addresses import login_name
from tests.cluster.cluster import Cluster, Machine
from tests.cluster.fire import Fire
from tests.cluster.moves import copy, hold, is_over, place, release, start_move
from tests.harness.service import RETRIED, wait_for
from tests.mail.clients import Imap
from tests.mail.platform import Mailbox

CANCELLED = "SELECT COUNT(*) FROM events WHERE account_id = :id AND type = 'account.move_cancelled'"
LEFT = "SELECT 1 FROM node_leftovers WHERE account_id = :id"


def cancel(machine: Machine, box: Mailbox) -> str:
    done = machine.service.run("accounts", "cancel-move", str(box.id))
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def fill(machine: Machine, box: Mailbox) -> None:
    machine.deliver(box, "hello")
    with machine.imap(box) as imap:
        imap.wait_for("hello")


def test_it_works_while_it_is_copied(cluster: Cluster, box: Mailbox) -> None:
    """It stays open; what the target has got is erased there."""
    home, other = cluster.home(box), cluster.other(box)
    fill(home, box)
    copy(box, home, other)
    hold(box)
    start_move(box, home, other, "copy")
    listed = json.loads(cluster.run("accounts", "list-moves", "--json").stdout)
    assert [row["phase"] for row in listed if row["id"] == box.id] == ["copy"]
    wanted = f"The move is cancelled: {box.id} stays on {home.name}. The copy on {other.name} is erased in a moment.\n"
    assert cancel(cluster.machines[0], box) == wanted
    wait_for("the end", lambda: is_over(box))
    wait_for("the copy's end", lambda: not box.platform.sql(LEFT, id=box.id))
    assert (home.holds(box), other.holds(box)) == (True, False)
    with other.imap(box) as imap:
        assert imap.subjects() == ["hello"]
    assert cancel(cluster.machines[0], box) == f"{box.id} is not being moved: it is on {home.name}.\n"
    assert box.platform.sql(CANCELLED, id=box.id) == [(1,)]


def test_a_frozen_account_whose_target_is_away(cluster: Cluster, box: Mailbox) -> None:
    """As a worker leaves it that was killed: sealed, and closed. It opens again where it was,
    moves elsewhere without waiting for that target, and the target erases its copy when it is
    back."""
    home, other = cluster.home(box), cluster.other(box)
    (third,) = (machine for machine in cluster.machines if machine not in (home, other))
    fill(home, box)
    copy(box, home, other)
    assert other.service.stop() == 0
    try:
        box.platform.sql("UPDATE nodes SET seen_at = 1 WHERE name = :name RETURNING id", name=other.name)
        hold(box)
        start_move(box, home, other, "frozen")
        maildir.seal(home.service.data / "mail", box.id)
        with pytest.raises(Imap.error, match="UNAVAILABLE"):
            home.imap(box)
        said = cancel(home, box)
        assert "It opens again in a moment." in said
        assert f"erased when {other.name} is back." in said
        wait_for("the end", lambda: is_over(box))
        assert not home.holds(box, ".sealed")
        with home.imap(box) as imap:
            assert imap.subjects() == ["hello"]
        assert other.name in home.service.run("accounts", "list-moves").stdout
        done = home.service.run("accounts", "move", str(box.id), third.name)
        assert done.returncode == 0, done.stderr
        again = home.service.run("accounts", "move", str(box.id), other.name)
        assert (again.returncode, "is not erased yet" in again.stderr) == (1, True)
        assert other.holds(box)
    finally:
        other.service.start()
    wait_for("the copy's end", lambda: not box.platform.sql(LEFT, id=box.id))
    assert [machine.name for machine in cluster.machines if machine.holds(box)] == [third.name]
    with other.imap(box) as imap:
        assert imap.subjects() == ["hello"]


def test_what_cannot_be_cancelled(cluster: Cluster, box: Mailbox) -> None:
    """A move that has switched already, and an account that does not exist. A command that follows
    a move reports its end."""
    home, other = cluster.home(box), cluster.other(box)
    hold(box)
    place(box, other)
    start_move(box, home, other, "clean")
    for id_, said in ((box.id, "already on its new node"), (999999999, "There is no account 999999999")):
        done = cluster.run("accounts", "cancel-move", str(id_))
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    place(box, home)
    box.platform.sql(
        "UPDATE account_moves SET phase = 'copy', cancelled = 1 WHERE account_id = :id RETURNING 1", id=box.id
    )
    done = cluster.run("accounts", "move", str(box.id), other.name)
    assert (done.returncode, "already being moved" in done.stderr) == (1, True)
    assert "cancelled" in cluster.run("accounts", "show", str(box.id)).stdout
    cancel(cluster.machines[0], box)
    wait_for("the end", lambda: is_over(box))


@pytest.mark.long
def test_it_works_under_fire(cluster: Cluster, box: Mailbox) -> None:
    """At any moment of a move: either it is cancelled or it is done, and nothing is lost or
    there twice."""
    with Fire.on(cluster, box) as fire:
        wait_for("mail", lambda: len(fire.taken) > 2 and len(fire.appended) > 2)
        for _ in range(8):
            home, other = cluster.home(box), cluster.other(box)
            done = cluster.run("accounts", "move", str(box.id), other.name, "--no-wait")
            assert done.returncode == 0, done.stderr
            threading.Event().wait(random.uniform(0, 3))
            cancelled = cluster.run("accounts", "cancel-move", str(box.id)).returncode == 0
            wait_for("the end", lambda: is_over(box), RETRIED)
            wait_for("the copy's end", lambda: not box.platform.sql(LEFT, id=box.id), RETRIED)
            if not cancelled:
                assert cluster.home(box) is other
            assert home.holds(box) != other.holds(box)
            acknowledged = len(fire.appended) + len(fire.taken)
            wait_for("mail after it", lambda: len(fire.appended) + len(fire.taken) > acknowledged)  # noqa: B023
    fire.check()


@pytest.mark.long
def test_a_source_that_is_lost(cluster: Cluster, box: Mailbox) -> None:
    """As the document says it: the copy takes the place of what the backup has, and the move
    goes on from there."""
    home, other = cluster.home(box), cluster.other(box)
    fill(home, box)
    copy(box, home, other)
    hold(box)
    start_move(box, home, other, "frozen")
    assert home.service.stop() == 0
    shutil.rmtree(home.mail(box))
    copy(box, other, home)
    home.service.start()
    release(box)
    wait_for("the end", lambda: is_over(box), RETRIED)
    assert (home.holds(box), other.holds(box)) == (False, True)
    with home.imap(box) as imap:
        assert imap.subjects() == ["hello"]


@pytest.mark.long
def test_a_copy_that_outlives_its_worker(cluster: Cluster, box: Mailbox) -> None:
    """doveadm continues when the worker that called it is gone. The copy is erased when nothing is
    added to it any more."""
    home, other = cluster.home(box), cluster.other(box)
    fill(home, box)
    (file,) = [path for name in ("new", "cur") for path in (home.mail(box) / "Maildir" / name).iterdir()]
    for number in range(2_000):
        shutil.copy(file, file.parent.parent / "new" / f"{number}.host")
    subprocess.run(["chown", "-R", home.owner, home.mail(box)], check=True)
    hold(box)
    start_move(box, home, other, "copy")
    asyncio.run(_ask_and_leave(home, other, box))
    cancel(home, box)
    reason = "SELECT 1 FROM account_moves WHERE account_id = :id AND reason LIKE 'An earlier copy %'"
    wait_for("the reason why it waits", lambda: box.platform.sql(reason, id=box.id))
    wait_for("its end", lambda: not maildir.is_being_copied(home.service.data / "mail", box.id), RETRIED)
    release(box)
    wait_for("the end", lambda: is_over(box))
    wait_for("the copy's end", lambda: not box.platform.sql(LEFT, id=box.id))
    assert (home.holds(box), other.holds(box)) == (True, False)


async def _ask_and_leave(home: Machine, other: Machine, box: Mailbox) -> None:
    run = home.service.data / "run"
    endpoint = DoveadmEndpoint((run / doveadm.KEY).read_text().strip(), socket=run / "dovecot" / "http")
    where = f"tcps:{other.address}:{other.own_port + 2}"
    command = ["backup", {"user": login_name(box.id, 0), "destination": [where], "lockTimeout": 30}, "copy"]
    asking = asyncio.create_task(doveadm.ask(endpoint, [command]))
    while not (other.holds(box) and maildir.is_being_copied(home.service.data / "mail", box.id)):
        await asyncio.sleep(0.01)
    asking.cancel()
