"""An orderly stop while clients work: every change that was made was answered."""

import random
import signal

from tests.faults.ledger import ABSENT, Ledger
from tests.faults.load import Load


def test_what_was_done_was_answered(ledger: Ledger, mailbox: str) -> None:
    """A connection may end without an answer only if its request was not carried out."""
    for _ in range(2):
        with Load(ledger, mailbox) as load:
            load.wait_for(random.randrange(20, 80))
            assert ledger.service.stop(signal.SIGTERM) == 0
        assert ledger.service.processes() == {}
        for entry in ledger.unanswered:
            entry.possible = entry.possible[:1]  # as before the request
        lost = [entry for entry in ledger.unanswered if entry.state == ABSENT]
        ledger.service.start()
        ledger.compare()
        assert not any(entry.existed for entry in lost)
