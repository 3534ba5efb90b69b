"""What the DNS has said in one check. Judges ask here; what is not known yet is noted and asked
for.

A question that is still open is raised as Open, an Unanswered. So a judge needs no second text
for "not yet".
"""

import asyncio
from collections.abc import Iterable

from postroom.domains.resolver import Found, Resolver, Unanswered

Question = tuple[str, str]


class Open(Unanswered):
    """The question has not been asked yet."""


class Lookups:
    """The answers to (name, type). `open` are the questions that were met and not asked yet."""

    def __init__(self) -> None:
        self._known: dict[Question, Found | Unanswered] = {}
        self.open: set[Question] = set()

    def __len__(self) -> int:
        return len(self._known)

    def add(self, question: Question, answer: Found | Unanswered) -> None:
        self._known[question] = answer
        self.open.discard(question)

    def find(self, name: str, record_type: str) -> Found:
        """The answer. Raises Unanswered."""
        answer = self._look(name, record_type)
        if isinstance(answer, Unanswered):
            raise answer
        return answer

    def hint(self, name: str, record_type: str) -> Found:
        """As `find`, for what only helps to explain: no answer counts as nothing found. Raises
        while it is open."""
        answer = self._look(name, record_type)
        return Found() if isinstance(answer, Unanswered) else answer

    def note(self, questions: Iterable[Question]) -> None:
        """Opens questions that will be needed, so that they are asked together."""
        self.open |= {(name.lower(), record_type) for name, record_type in questions} - self._known.keys()

    async def ask(self, resolver: Resolver, at_once: int) -> None:
        """Asks the open questions, so many at the same time."""
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
