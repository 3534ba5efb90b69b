"""The jobs of a batch, run in the event loop while the writer's thread waits for them.

The loop may have ended, may be busy with something else for long while other processes wait for
the lock, or may wait for the thread itself (`Writer.close`). Where it does not come to a job,
the thread runs the rest; nobody runs a job twice, and nobody runs one beside another.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from postroom.errors import Busy

J = TypeVar("J")

# So long it keeps the loop; then whoever else is due has a turn.
SLICE_SECONDS = 0.001
# A loop that has come to no job in this time is stuck.
LOOK_SECONDS = 0.05


class Turn(Generic[J]):
    """Jobs of one batch. What `run` raises ends it, and is raised in the thread."""

    def __init__(self, jobs: Iterable[J], run: Callable[[J], None], loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._left = deque(jobs)
        self._run = run
        self._running = threading.Lock()
        self._over: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._error: Exception | None = None

    def start(self) -> None:
        """In the thread: has the loop begin."""
        with contextlib.suppress(RuntimeError):  # it is closed
            self._loop.call_soon_threadsafe(self.go_on)

    def wait(self, closing: threading.Event) -> None:
        """In the thread: returns when all have run."""
        left = len(self._left)
        while not self._is_over():
            if closing.is_set() or len(self._left) == left:
                self._run_until(float("inf"))
                break
            left = len(self._left)
        if self._error is not None:
            raise self._error

    def _is_over(self) -> bool:
        try:
            self._over.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            return False
        return True

    def go_on(self) -> None:
        """In the loop: runs some, and the others later."""
        try:
            self._run_until(time.perf_counter() + SLICE_SECONDS)
        finally:
            if self._left:
                self._loop.call_soon(self.go_on)
            else:
                self._over.put(None)

    def _run_until(self, end: float) -> None:
        with self._running:
            while self._left:
                try:
                    self._run(self._left.popleft())
                except Exception as error:
                    self._give_up(error)
                except BaseException:
                    self._give_up(Busy("The write was broken off. Try again."))
                    raise
                if time.perf_counter() >= end:
                    return

    def _give_up(self, error: Exception) -> None:
        self._error = error  # before the others go: then it is over
        self._left.clear()
