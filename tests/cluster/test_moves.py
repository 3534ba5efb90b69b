"""Accounts move from one node to another under fire: nothing is lost and nothing is duplicated."""

from dataclasses import replace

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.fire import Fire
from tests.cluster.moves import (
    has_home,
    hold,
    is_over,
    kill_in,
    move,
    place,
    purge,
    release,
    seen,
    start_move,
    under_fire,
)
from tests.harness.service import COMMAND, RETRIED, wait_for
from tests.harness.terminal import said_at_terminal
from tests.mail import clients
from tests.mail.clients import Imap
from tests.mail.platform import Mailbox


def test_it_works_under_fire(cluster: Cluster, box: Mailbox) -> None:
    """There and back. UIDs stay the same, so that clients do not load their mail again."""
    home = cluster.home(box)
    under_fire(cluster, box, [cluster.other(box), home])


def test_a_terminal_is_told_how_far_it_is(cluster: Cluster, box: Mailbox) -> None:
    home, other = cluster.home(box), cluster.other(box)
    for number in range(3):
        home.deliver(box, f"hello {number}")
    with home.imap(box) as imap:
        wait_for("the mail", lambda: len(imap.subjects()) == 3)
    service = cluster.machines[0].service
    said = said_at_terminal([COMMAND, "accounts", "move", str(box.id), other.name], service.environment, "stderr")
    assert "of 3 messages" in said
    assert said.rstrip().endswith("done")


@pytest.mark.long
def test_round_and_round(cluster: Cluster, box: Mailbox) -> None:
    """Like the test above, through all nodes, twice."""
    home = cluster.home(box)
    others = [machine for machine in cluster.machines if machine is not home]
    under_fire(cluster, box, [*others, home, *others, home])


def test_everything_moves(cluster: Cluster, box: Mailbox) -> None:
    """Folders, flags, keywords, subscriptions and scripts move there and back. Sessions end."""
    home, other = cluster.home(box), cluster.other(box)
    script = b'require ["fileinto", "mailbox"];\nfileinto :create "Archive";\n'
    clients.put_script(home.address, home.port("sieve_port"), box.address, box.password, script)
    with home.imap(box) as imap:
        for name in ("example.com", "a.b/.c", "..", "~", "%", r"back\\2eslash", "&ZeVnLA-.&ip4-"):
            assert imap.create(f'"{name}"')[0] == "OK"
            imap.subscribe(f'"{name}"')
        imap.create("Work/Deep")
        imap.subscribe("Work/Deep")
        imap.append("Work/Deep", r"(\Seen \Flagged Later)", None, b"Subject: a\r\n\r\nx\r\n")  # type: ignore[arg-type]
    before = seen(home, box)
    for target in (other, home):
        session = home.imap(box)
        move(cluster, box, target)
        assert not session.is_open()
        assert seen(home, box) == before
    home.deliver(box, "filed")
    with home.imap(box) as imap:
        wait_for("the script", lambda: imap.select("Archive", readonly=True) == ("OK", [b"1"]))
    sql = "SELECT COUNT(*) FROM events WHERE account_id = :id AND type = 'account.moved'"
    assert box.platform.sql(sql, id=box.id) == [(2,)]


def test_a_reset_that_stops_scripts_holds_on_every_machine(cluster: Cluster, box: Mailbox) -> None:
    """Before and after a move. Each node reports whether a script forwards, wherever the mailbox
    is."""
    home, other = cluster.home(box), cluster.other(box)
    usage = f"/v2/email-accounts/{box.id}/usage"
    clients.put_script(
        home.address, home.port("sieve_port"), box.address, box.password, b'redirect "thief@elsewhere.example";\n'
    )
    assert box.platform.call("GET", usage, None)["forwards_by_script"] is True
    move(cluster, box, other)
    assert box.platform.call("GET", usage, None)["forwards_by_script"] is True
    reset = {"disable_scripts": True}
    answer = box.platform.call("POST", f"/v2/email-accounts/{box.id}/password/reset", reset)
    assert box.platform.call("GET", usage, None)["forwards_by_script"] is False
    move(cluster, box, home)
    assert box.platform.call("GET", usage, None)["forwards_by_script"] is False
    clients.put_script(other.address, other.port("sieve_port"), box.address, answer["password"], b"keep;\n")
    home.deliver(box, "kept")
    box = replace(box, password=answer["password"])
    with home.imap(box) as imap:
        imap.wait_for("kept")


def test_a_worker_that_is_killed(cluster: Cluster, box: Mailbox) -> None:
    """The worker dies while the account is frozen, and the next worker continues."""
    home, other = cluster.home(box), cluster.other(box)
    home.deliver(box, "hello")
    with home.imap(box) as imap:
        imap.wait_for("hello")
    assert cluster.run("accounts", "move", str(box.id), other.name, "--no-wait").returncode == 0
    kill_in(home, box, "frozen")
    wait_for("the move", lambda: cluster.home(box) is other, RETRIED)
    with home.imap(box) as imap:
        assert imap.subjects() == ["hello"]


@pytest.mark.long
def test_a_worker_that_is_killed_under_fire(cluster: Cluster, box: Mailbox) -> None:
    """Workers die again and again during a move. The next worker continues, and the account is open
    in the end."""
    home, other = cluster.home(box), cluster.other(box)
    with Fire.on(cluster, box) as fire:
        wait_for("mail", lambda: len(fire.taken) > 2 and len(fire.appended) > 2)
        assert cluster.run("accounts", "move", str(box.id), other.name, "--no-wait").returncode == 0
        for phase in ("copy", "frozen", "frozen", "clean"):
            kill_in(home, box, phase)
        wait_for("the move", lambda: cluster.home(box) is other, RETRIED)
        acknowledged = len(fire.appended)
        wait_for("mail after it", lambda: len(fire.appended) > acknowledged)
    fire.check()
    wait_for("the old copy's end", lambda: is_over(box), RETRIED)
    assert not home.holds(box)


def test_a_target_that_is_away(cluster: Cluster, box: Mailbox) -> None:
    """The account stays at its home, and open. The move shows the reason and continues when the
    target is back."""
    home, other = cluster.home(box), cluster.other(box)
    assert other.service.stop() == 0
    try:
        assert home.service.run("accounts", "move", str(box.id), other.name, "--no-wait").returncode == 0
        sql = "SELECT phase, reason FROM account_moves WHERE account_id = :id AND reason IS NOT NULL"
        ((phase, reason),) = wait_for("a reason", lambda: box.platform.sql(sql, id=box.id))
        assert phase == "copy"
        assert reason
        home.deliver(box, "meanwhile")
        with home.imap(box) as imap:
            imap.wait_for("meanwhile")
    finally:
        other.service.start()
    box.platform.sql("UPDATE leases SET free_at = 0 WHERE kind = 'move' AND item = :id RETURNING item", id=box.id)
    wait_for("the move", lambda: cluster.home(box) is other, RETRIED)
    with home.imap(box) as imap:
        assert imap.subjects() == ["meanwhile"]


def test_an_account_that_is_deleted_on_its_way(cluster: Cluster, box: Mailbox) -> None:
    """The target erases its copy. The mail that the grace period keeps is at the old home."""
    home, other = cluster.home(box), cluster.other(box)
    home.deliver(box, "hello")
    with home.imap(box) as imap:
        imap.wait_for("hello")
    box.delete()
    start_move(box, home, other, "copy")
    wait_for("the end", lambda: is_over(box), RETRIED)
    assert (home.holds(box), other.holds(box)) == (True, False)


def test_a_question_before_the_seal(cluster: Cluster, box: Mailbox) -> None:
    """A query must not create the folder that the move then takes for the mailbox: the move would
    copy nothing and erase everything."""
    home, other = cluster.home(box), cluster.other(box)
    home.deliver(box, "hello")
    with home.imap(box) as imap:
        imap.wait_for("hello")
    hold(box)
    start_move(box, home, other, "frozen")
    assert box.platform.call("GET", f"/v2/email-accounts/{box.id}/usage", None)["messages"] == 1
    assert not home.holds(box, ".sealed")
    with pytest.raises(Imap.error, match="UNAVAILABLE"):
        home.imap(box)
    release(box)
    wait_for("the end", lambda: is_over(box), RETRIED)
    with home.imap(box) as imap:
        assert imap.subjects() == ["hello"]


def test_a_session_that_was_slow_to_begin(cluster: Cluster, box: Mailbox) -> None:
    """The session ends although the account is already elsewhere. It would otherwise create an
    empty mailbox in the old place."""
    home, other = cluster.home(box), cluster.other(box)
    session = home.imap(box)
    place(box, other)
    start_move(box, home, other, "clean")
    wait_for("the end", lambda: is_over(box), RETRIED)
    assert not session.is_open()


def test_a_move_that_is_refused(cluster: Cluster, box: Mailbox) -> None:
    home, other = cluster.home(box), cluster.other(box)
    for arguments, said in (
        ((str(box.id), "nowhere"), "There is no node nowhere"),
        ((str(box.id), home.name), f"is already on {home.name}"),
        (("999999999", other.name), "There is no account 999999999"),
    ):
        done = cluster.run("accounts", "move", *arguments)
        assert done.returncode == 1
        assert said in done.stderr


def test_a_purge_is_done_where_the_mail_is(cluster: Cluster, box: Mailbox) -> None:
    home, other = cluster.home(box), cluster.other(box)
    move(cluster, box, other)
    other.deliver(box, "hello")
    with other.imap(box) as imap:
        imap.wait_for("hello")
    purge(box)
    wait_for("the purge", lambda: not other.holds(box) and not home.holds(box), RETRIED)
    wait_for("its home", lambda: not has_home(box), RETRIED)
