"""What the DNS has said in one check. Whoever judges asks here; what is not known yet is noted and asked for.

A stranger would get wrong: a question that is still open is raised as Unanswered, like one that got no answer. So
whoever judges needs no second text for "not yet".
"""

from postroom.resolver import Found, Unanswered

Question = tuple[str, str]


class Answers:
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
        """As `find`, for what only helps to explain: no answer counts as nothing found. Raises while it is open."""
        answer = self._look(name, record_type)
        return Found() if isinstance(answer, Unanswered) else answer

    def _look(self, name: str, record_type: str) -> Found | Unanswered:
        question = name.lower(), record_type
        if question not in self._known:
            self.open.add(question)
            raise Unanswered("it was not asked in time")
        return self._known[question]
