"""The DNS answers of one check. The code that judges records reads answers here; an answer that is
not known yet is noted as an open question and then asked.

An open question raises Open, a subclass of Unanswered, so that judging code needs no separate case
for "not asked yet".
"""

import asyncio
from collections.abc import Iterable

from postroom.domains.resolver import Found, Resolver, Unanswered

Question = tuple[str, str]


class Open(Unanswered):
    """The question has not been asked yet."""


class Lookups:
    """The answers by (name, type). `open` holds the questions that came up and were not asked
    yet."""

    def __init__(self) -> None:
        self._known: dict[Question, Found | Unanswered] = {}
        self.open: set[Question] = set()

    def __len__(self) -> int:
        return len(self._known)

    def add(self, question: Question, answer: Found | Unanswered) -> None:
        self._known[question] = answer
        self.open.discard(question)

    def find(self, name: str, record_type: str) -> Found:
        """Returns the answer. Raises Unanswered; Open while the question is open."""
        answer = self._look(name, record_type)
        if isinstance(answer, Unanswered):
            raise answer
        return answer

    def hint(self, name: str, record_type: str) -> Found:
        """As `find`, for look-ups that only improve an explanation: no answer counts as nothing
        found. Raises Open while the question is open."""
        answer = self._look(name, record_type)
        return Found() if isinstance(answer, Unanswered) else answer

    def note(self, questions: Iterable[Question]) -> None:
        """Opens questions that will be needed, so that they are asked together."""
        self.open |= {(name.lower(), record_type) for name, record_type in questions} - self._known.keys()

    async def ask(self, resolver: Resolver, at_once: int) -> None:
        """Asks the open questions, at most `at_once` at the same time."""
        limit = asyncio.Semaphore(at_once)

        async def one(question: Question) -> None:
            async with limit:
                try:
                    self.add(question, await resolver.find(*question))
                except Unanswered as silence:
                    self.add(question, silence)

        await asyncio.gather(*(one(question) for question in sorted(self.open)))

    def _look(self, name: str, record_type: str) -> Found | Unanswered:
        question = name.lower(), record_type
        if question not in self._known:
            self.open.add(question)
            raise Open("it was not asked in time")
        return self._known[question]
