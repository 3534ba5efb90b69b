"""The guard of a daemon: runs the daemon in its own session. The guard ends the whole session when
the daemon ends, on SIGTERM, or when the supervisor is dead. It passes SIGHUP to the daemon, which
then reads its files again.

    daemon_guard.py LIFELINE GRACE PIDFILE COMMAND...

LIFELINE is the read end of a pipe; only the supervisor holds the write end. An end of file thus
means that the supervisor is dead, even after SIGKILL. GRACE is in seconds. The guard exists because
Postfix's master changes its user id, which clears the signal that the kernel would send at the
parent's death. This file imports only the standard library.
"""

import ctypes
import os
import select
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Seconds from SIGTERM to SIGKILL for the rest of the session, and between two signals.
LAST_MOMENT = 1.0
PAUSE = 0.02


def main(arguments: list[str]) -> int:
    lifeline, grace, pid_file, command = int(arguments[0]), float(arguments[1]), arguments[2], arguments[3:]
    told, wake = os.pipe()
    os.set_blocking(wake, False)
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(wake)
    # Processes that the daemon leaves behind become our children, so that we can wait for them.
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    child = os.fork()
    if child == 0:
        _become(command, pid_file)
    ended = os.pidfd_open(child)
    while _is_reload(told, select.select([lifeline, told, ended], [], [])[0]):
        os.kill(child, signal.SIGHUP)
    os.kill(child, signal.SIGTERM)
    select.select([ended], [], [], grace)
    status = _end_session(child)
    _remove(pid_file, child)
    return status if status >= 0 else 128 - status


def _is_reload(told: int, ready: list[int]) -> bool:
    return ready == [told] and set(os.read(told, 512)) == {signal.SIGHUP}


def prctl(option: int, value: int) -> None:
    """prctl(2), which Python does not have."""
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _become(command: list[str], pid_file: str) -> None:
    """Runs in the child: writes the process id to disk before it executes the daemon, so that every
    daemon is recorded."""
    try:
        guard = os.getppid()
        os.setsid()
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        descriptor = os.open(pid_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        os.close(descriptor)
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == guard:
            os.execv(command[0], command)  # noqa: S606 - the command is the supervisor's
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
    os._exit(127)


def _end_session(leader: int) -> int:
    """Ends all processes in the daemon's session, after LAST_MOMENT seconds with SIGKILL. Returns
    the exit status of the daemon itself; negative: the signal that ended it."""
    deadline = time.monotonic() + LAST_MOMENT
    status = 0
    while True:
        _signal(leader, signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL)
        try:
            pid, how = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == leader:
            status = os.waitstatus_to_exitcode(how)
        elif pid == 0:
            time.sleep(PAUSE)


def _signal(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def _remove(pid_file: str, pid: int) -> None:
    try:
        with open(pid_file, encoding="ascii") as file:  # noqa: PTH123 - pathlib takes 1 MB of each guard's memory
            is_ours = file.read().strip() == str(pid)
        if is_ours:
            os.unlink(pid_file)  # noqa: PTH108
    except FileNotFoundError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
