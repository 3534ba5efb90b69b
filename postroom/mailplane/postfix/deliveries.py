"""What became of submitted messages, read from Postfix's log.

A message has a name in the queue (queue id), which is on all its lines: smtpd's with the login,
cleanup's with the Message-ID, and one for each attempt to deliver to a recipient. The position in
the log is not stored: a starting worker reads this log and the previous one again, and a status
that is read twice changes nothing (accounts/sent_mail.py).

Recipients and replies are text of strangers. They never begin a line, and Postfix has replaced
control characters. Mail that a Sieve script sends is not the account's (decision 0276).
"""

import re
from collections import OrderedDict
from pathlib import Path
from typing import Literal, NamedTuple

from postroom.mailplane.dovecot.logins import LOGIN
from postroom.mailplane.internal_addresses import INTERNAL_DOMAIN
from postroom.supervision.logfiles import Reader

Status = Literal["delayed", "delivered", "bounced", "expired", "passed"]
# Largest number of characters of a text that is kept.
LONGEST_ADDRESS = 320
LONGEST_REASON = 500
LONGEST_MESSAGE_ID = 500
# Largest number of messages in the queue that are remembered; the database knows older ones that
# have a status.
MOST_REMEMBERED = 50_000
# Number of outcomes after which a reading ends. The next one continues there.
MOST_AT_ONCE = 5_000

LINE = re.compile(
    rb"[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} [^ ]+ postfix/(?:([a-z]+)/)?([a-z]+)\[[0-9]+\]: ([0-9A-Za-z]{12,25}): "
    rb"(client=|message-id=|to=<|removed\n|from=<)(.*)\n?"
)
LOGGED_IN = re.compile(rb"[^ ,]+, sasl_method=[^ ,]+, sasl_username=([^ ,]+)")
# The API names the account alone.
NAMED = re.compile(rb"[^ ,]+, sasl_method=XCLIENT, sasl_username=([0-9]{1,18})")
# Atomic groups, so that a text of a stranger costs one reading at most.
ATTEMPT = re.compile(
    rb"(?>(.*?)>, (?=orig_to=<|relay=))(?:orig_to=<(?>(.*?)>, (?=relay=)))?(?>relay=.*?, delay=)([0-9]{1,9})"
    rb"(?>.*?, dsn=)([245]\.[0-9]{1,3}\.[0-9]{1,3}), status=(sent|deferred|bounced) \((.*)\)"
)
EXPIRED = re.compile(rb"(?>.*>, status=)(?:force-)?expired, ")
INTERNAL = re.compile(rf"([0-9]{{1,18}})@(?:inbox\.)?{re.escape(INTERNAL_DOMAIN)}")
INTERNAL_NAMES = re.compile(rf"[0-9]+@[a-z0-9.]*{re.escape(INTERNAL_DOMAIN)}")
SOCKETS = re.compile(r"\[?/[^\]\s:()]*\]?")
REPLY = re.compile(r"\b(?:said|refused to talk to me): ([245][0-9]{2})[ -]")
PASSED = re.compile(r"250 2\.0\.0 Ok: queued as ([0-9A-Za-z]{12,25})")
STATUSES: dict[bytes, Status] = {b"sent": "delivered", b"deferred": "delayed", b"bounced": "bounced"}

# Postfix's long queue ids: seconds and microseconds since 1970 in base 52, and the inode.
DIGITS = {digit: value for value, digit in enumerate("0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz")}
DIGIT = f"[{''.join(DIGITS)}]"
QUEUE_ID = re.compile(rf"({DIGIT}{{6,8}})({DIGIT}{{4}})z[0-9A-Za-z]+")
LATEST = 253_402_300_800  # the end of the year 9999, in seconds


class Message(NamedTuple):
    """A submitted message: its account, its Message-ID (empty if it has none), and when Postfix
    accepted it, in milliseconds since 1970 UTC."""

    account_id: int
    message_id: str
    sent_at: int


class Outcome(NamedTuple):
    """An attempt to deliver a message, or the end of its time in the queue (`expired`: it is
    about all recipients that are delayed, and names none).

    `recipient` is what the sender wrote; None if only the mailbox, account `target_id`, is known.
    `passed_as` is the queue id at the mailbox's node. `at` is in milliseconds since 1970 UTC.
    """

    queue_id: str
    recipient: str | None
    target_id: int | None
    status: Status
    smtp_code: int | None
    enhanced_code: str
    reason: str | None
    at: int
    passed_as: str = ""


class News(NamedTuple):
    """The outcomes since the last reading in their order, and what the log says about messages:
    None if a message was not submitted here, nothing if its first lines are not in the log."""

    outcomes: list[Outcome]
    messages: dict[str, Message | None]


class DeliveryLog:
    """Reads Postfix's log, each time from the end of the last reading."""

    def __init__(self, path: Path) -> None:
        self._reader = Reader(path)
        self._messages: OrderedDict[str, Message | None] = OrderedDict()

    def __call__(self) -> News:
        """Returns the outcomes since the last call that may be those of submitted messages, at most
        MOST_AT_ONCE."""
        news = News([], {})
        for line in self._reader:
            if found := LINE.fullmatch(line):
                self._take(found, news)
                if len(news.outcomes) >= MOST_AT_ONCE:
                    break
        return news

    def _take(self, found: re.Match[bytes], news: News) -> None:
        listener, program, name, verb, rest = found.groups()
        queue_id = name.decode("ascii")
        if verb == b"client=":
            self._begin(queue_id, listener, program, rest)
        elif verb == b"message-id=":
            known = self._messages.get(queue_id)
            if known and not known.message_id:  # the first of several
                self._messages[queue_id] = known._replace(message_id=readable(rest, LONGEST_MESSAGE_ID))
        elif verb == b"removed\n":
            self._messages.pop(queue_id, None)
        elif self._messages.get(queue_id, ...) is not None:
            told = attempt(queue_id, program, rest) if verb == b"to=<" else expiry(queue_id, program, rest)
            if told:
                news.outcomes.append(told)
                if known := self._messages.get(queue_id):
                    news.messages[queue_id] = known

    def _begin(self, queue_id: str, listener: bytes | None, program: bytes, rest: bytes) -> None:
        if program != b"smtpd" or listener == b"node":  # what a node passed on is looked up by its queue id
            return
        account_id, arrived = _submitter(listener, rest), arrival(queue_id)
        self._messages[queue_id] = Message(account_id, "", arrived) if account_id and arrived is not None else None
        if len(self._messages) > MOST_REMEMBERED:
            self._messages.popitem(last=False)


def _submitter(listener: bytes | None, rest: bytes) -> int | None:
    """Returns the account that submits a message, from the text after `client=`; None if none
    does."""
    if listener == b"api":
        named = NAMED.fullmatch(rest)
        return int(named[1]) if named else None
    login = LOGGED_IN.fullmatch(rest) if listener in (b"submission", b"submissions") else None
    account = LOGIN.fullmatch(login[1].decode("ascii", "replace")) if login else None
    return int(account[1]) if account else None


def has_queued(path: Path, queue_id: str) -> bool:
    """Whether this log or the one before says that the queue manager has seen a message: Postfix
    has finished its file before."""
    mark = f": {queue_id}: from=<".encode()
    lines = (LINE.fullmatch(line) for line in Reader(path) if mark in line)
    return any(found and found[2] == b"qmgr" and found[3].decode() == queue_id for found in lines)


def attempt(queue_id: str, program: bytes, rest: bytes) -> Outcome | None:
    """Returns the outcome in the text after `to=<`, or None if the text has none."""
    told, arrived = ATTEMPT.fullmatch(rest), arrival(queue_id)
    if told is None or arrived is None:
        return None
    to, written = readable(told[1], LONGEST_ADDRESS), readable(told[2] or told[1], LONGEST_ADDRESS)
    target, is_local = INTERNAL.fullmatch(to), program == b"lmtp"
    status, text = STATUSES[told[5]], readable(told[6], LONGEST_REASON)
    passed = PASSED.match(text) if target and program == b"smtp" and status == "delivered" else None
    code = REPLY.search(text)
    if status == "delivered":
        smtp_code = int(text[:3]) if re.match("2[0-9]{2} ", text) else None
    else:
        smtp_code = int(code[1]) if code else None
    return Outcome(
        queue_id=queue_id,
        recipient=None if INTERNAL_NAMES.search(written) else written,
        target_id=int(target[1]) if target else None,
        status="passed" if passed else status,
        smtp_code=smtp_code,
        enhanced_code=told[4].decode("ascii"),
        reason=_reason(text, status, is_mailbox=target is not None, is_local=is_local),
        at=arrived + int(told[3]) * 1000,
        passed_as=passed[1] if passed else "",
    )


def expiry(queue_id: str, program: bytes, rest: bytes) -> Outcome | None:
    """Returns the outcome in qmgr's text after `from=<`, or None if the text has none."""
    arrived = arrival(queue_id)
    if program != b"qmgr" or arrived is None or not EXPIRED.match(rest):
        return None
    return Outcome(queue_id, None, None, "expired", None, "4.4.7", None, arrived)


def _reason(text: str, status: Status, *, is_mailbox: bool, is_local: bool) -> str | None:
    """Returns the reason as the sender may read it. Of a mailbox here it says nothing about this
    installation: neither names, nor sockets, nor nodes (decision 0276)."""
    if not is_mailbox:
        return INTERNAL_NAMES.sub("mailbox", text)
    if status == "delivered":
        return None
    if is_local:
        return SOCKETS.sub("", INTERNAL_NAMES.sub("mailbox", text))
    return (
        "the mailbox's server cannot be reached" if status == "delayed" else "the mailbox's server refused the message"
    )


def arrival(queue_id: str) -> int | None:
    """Returns when Postfix accepted a message, in milliseconds since 1970 UTC, or None if this is
    no long queue id. Lines of the log have neither a year nor a zone."""
    found = QUEUE_ID.fullmatch(queue_id)
    if found is None:
        return None
    seconds, micros = _number(found[1]), _number(found[2])
    return seconds * 1000 + micros // 1000 if seconds < LATEST and micros < 10**6 else None


def _number(digits: str) -> int:
    value = 0
    for digit in digits:
        value = value * len(DIGITS) + DIGITS[digit]
    return value


def readable(text: bytes, longest: int) -> str:
    """Returns a text of a stranger without control characters, and cut."""
    cut = text[: 4 * longest].decode("utf-8", "replace")[:longest]
    return cut if cut.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in cut)
