"""Helpers for tests of moves."""

import os
import subprocess
from typing import Any

from tests.cluster.cluster import Cluster, Machine
from tests.cluster.fire import Fire
from tests.harness.service import RETRIED, wait_for
from tests.mail.platform import Mailbox


def move(cluster: Cluster, box: Mailbox, machine: Machine) -> None:
    wait_for("the end of the last move", lambda: is_over(box), RETRIED)
    done = cluster.run("accounts", "move", str(box.id), machine.name)
    assert (done.returncode, done.stdout) == (0, f"{box.id} is on {machine.name}.\n"), done.stderr


def start_move(box: Mailbox, source: Machine, target: Machine, phase: str) -> None:
    """Starts a move directly in this phase."""
    sql = (
        "INSERT INTO account_moves (account_id, source, target, phase, created_at) SELECT :id, s.id, t.id, :phase, 1"
        " FROM nodes s, nodes t WHERE s.name = :s AND t.name = :t RETURNING account_id"
    )
    box.platform.sql(sql, id=box.id, s=source.name, t=target.name, phase=phase)


def hold(box: Mailbox) -> None:
    """Stops workers from continuing the move, as if they had backed off from it."""
    later = "INSERT INTO leases (kind, item, free_at, failures) VALUES ('move', :id, :at, 0) RETURNING item"
    box.platform.sql(later, id=box.id, at=2**52)


def release(box: Mailbox) -> None:
    box.platform.sql("DELETE FROM leases WHERE kind = 'move' AND item = :id RETURNING item", id=box.id)


def copy(box: Mailbox, source: Machine, target: Machine) -> None:
    """Copies the mailbox's files as a move does."""
    shelf = target.mail(box).parent
    subprocess.run(["install", "-d", "-m", "700", f"--owner={source.owner}", shelf], check=True)
    subprocess.run(["cp", "-a", source.mail(box), shelf], check=True)


def place(box: Mailbox, machine: Machine) -> None:
    """Records the mailbox on that node, without any files."""
    sql = "UPDATE account_homes SET node_id = nodes.id FROM nodes WHERE name = :to AND account_id = :id RETURNING name"
    box.platform.sql(sql, id=box.id, to=machine.name)


def has_home(box: Mailbox) -> bool:
    return bool(box.platform.sql("SELECT 1 FROM account_homes WHERE account_id = :id", id=box.id))


def purge(box: Mailbox) -> None:
    """Deletes the account with its mail, without waiting for the end of sessions."""
    box.platform.call("POST", "/v2/email-accounts/delete", {"id": box.id, "purge": True})
    box.platform.sql("DELETE FROM session_endings WHERE account_id = :id RETURNING id", id=box.id)


def is_over(box: Mailbox) -> bool:
    return not box.platform.sql("SELECT 1 FROM account_moves WHERE account_id = :id", id=box.id)


def under_fire(cluster: Cluster, box: Mailbox, way: list[Machine]) -> None:
    with Fire.on(cluster, box) as fire:
        wait_for("mail", lambda: len(fire.taken) > 2 and len(fire.appended) > 2)
        for machine in way:
            acknowledged = len(fire.appended) + len(fire.taken)
            move(cluster, box, machine)
            assert cluster.home(box) is machine
            wait_for("mail after it", lambda: len(fire.appended) + len(fire.taken) > acknowledged)  # noqa: B023
    fire.check()
    wait_for("the old copy's end", lambda: is_over(box), RETRIED)
    assert [machine.name for machine in cluster.machines if machine.holds(box)] == [way[-1].name]
    assert not any(machine.holds(box, ".sealed") for machine in cluster.machines)


def seen(machine: Machine, box: Mailbox) -> list[Any]:
    """What a client sees, but for `\\Marked`: a hint of the server's (RFC 9051 7.3.1), and another
    one in Dovecot 2.4."""
    with machine.imap(box) as imap:
        lists = [sorted(_unmarked(line) for line in listed[1]) for listed in (imap.list(), imap.lsub())]  # in any order
        folders = [*lists, imap.select("Work/Deep", readonly=True)]
        return [*folders, imap.response("UIDVALIDITY"), imap.fetch("1:*", "(UID FLAGS INTERNALDATE BODY.PEEK[])")]


def _unmarked(line: Any) -> str:
    return str(line).replace(r" \\Marked", "")


def kill_in(machine: Machine, box: Mailbox, phase: str) -> None:
    """Kills the worker as soon as the move is in this phase, unless the move ends before."""
    sql = "SELECT phase FROM account_moves WHERE account_id = :id"
    rows = wait_for("the phase", lambda: _in(box.platform.sql(sql, id=box.id) or [("clean",)], phase))
    assert rows
    if pid := machine.service.pid("worker"):
        os.kill(pid, 9)
        wait_for("the next one", lambda: machine.service.pid("worker") not in (0, pid))


def _in(rows: list[Any], phase: str) -> list[Any]:
    return rows if rows[0][0] in (phase, "clean") else []
