"""The body of a request that sends a message, and its checks. No value can become a header field of
its own (messages/composer.py)."""

import re
from collections.abc import Iterable, Sequence

import msgspec
from msgspec import UNSET, UnsetType

from postroom.address import BadAddress
from postroom.errors import FieldError
from postroom.messages.composer import LONGEST_TYPE, content_type_of
from postroom.messages.drafts import LONGEST_SUBJECT, MOST_RECIPIENTS, Draft, DraftAttachment
from postroom.messages.people import Person, is_one_line, parse_person
from postroom.messages.shown import INBOX
from postroom.parameters import (
    AttachmentContent,
    AttachmentContentId,
    AttachmentFilename,
    AttachmentType,
    Bcc,
    Cc,
    DraftAttachments,
    DraftFrom,
    DraftHeaders,
    DraftHtml,
    DraftReplyTo,
    DraftSubject,
    DraftText,
    DraftTo,
    InReplyToId,
    InReplyToMailbox,
    SaveSent,
    UserId,
)

MOST_ATTACHMENTS = 100
MOST_HEADERS = 30
LONGEST_HEADER = 900
LARGEST_TEXT_BYTES = 1024 * 1024
LONGEST_FILENAME = 255
# Header fields that only Postroom, Postfix or the signer write. Others have a field of their own.
OURS = {
    *("from", "sender", "to", "cc", "bcc", "reply-to", "subject", "date", "message-id", "in-reply-to", "references"),
    *("mime-version", "received", "return-path", "delivered-to", "x-original-to", "envelope-to", "dkim-signature"),
    *("authentication-results", "received-spf", "domainkey-signature", "x-spam", "disposition-notification-to"),
    *("return-receipt-to", "errors-to", "apparently-to", "x-sieve", "x-sieve-redirected-from", "status", "x-status"),
}
OUR_BEGINNINGS = ("content-", "resent-", "arc-", "x-postroom-", "x-google-dkim")
_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,75}")
_CONTENT_ID = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.@-]{1,200}")


class AttachmentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    filename: AttachmentFilename
    content_type: AttachmentType
    content_base64: AttachmentContent
    content_id: AttachmentContentId | None = None


class SendMessageBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    to: DraftTo[list[str]] = []
    cc: Cc[list[str]] = []
    bcc: Bcc[list[str]] = []
    from_: DraftFrom | None = None
    reply_to: DraftReplyTo | None = None
    subject: DraftSubject | None = None
    text: DraftText | None = None
    html: DraftHtml | None = None
    attachments: DraftAttachments[list[AttachmentBody]] = []
    headers: DraftHeaders[dict[str, str]] = {}
    in_reply_to_id: InReplyToId | None = None
    in_reply_to_mailbox: InReplyToMailbox = INBOX
    save_sent: SaveSent = True
    user_id: UserId | UnsetType = UNSET


def read_draft(body: SendMessageBody, problems: list[FieldError]) -> Draft:
    """Returns the draft, whose sender is empty if the body names none. Any problems are added to
    `problems`."""
    draft = Draft(
        from_=_person("from", body.from_, problems) or Person(None, ""),
        to=_people("to", body.to, problems),
        cc=_people("cc", body.cc, problems),
        bcc=_people("bcc", body.bcc, problems),
        reply_to=_person("reply_to", body.reply_to, problems),
        subject=body.subject,
        text=body.text,
        html=body.html,
        attachments=_attachments(body.attachments, problems),
        headers=_headers(body.headers, problems),
    )
    number = len(draft.recipients)
    if not 1 <= number <= MOST_RECIPIENTS and not problems:
        message = f"Send to 1 to {MOST_RECIPIENTS} addresses in to, cc and bcc together."
        problems.append(FieldError("to", "invalid", message))
    if body.subject is not None and not (len(body.subject) <= LONGEST_SUBJECT and is_one_line(body.subject)):
        message = f"Use up to {LONGEST_SUBJECT} characters, without control characters."
        problems.append(FieldError("subject", "invalid", message))
    _check_texts(body, problems)
    return draft


def _check_texts(body: SendMessageBody, problems: list[FieldError]) -> None:
    if body.text is None and body.html is None and not body.attachments:
        problems.append(FieldError("text", "required", "Send text, html or attachments."))
    for name in ("text", "html"):
        text = getattr(body, name) or ""
        if "\0" in text:
            problems.append(FieldError(name, "invalid", "A text must not have NUL."))
        elif len(text) > LARGEST_TEXT_BYTES or len(text.encode("utf-8", "replace")) > LARGEST_TEXT_BYTES:
            problems.append(FieldError(name, "too_long", "A text must have at most 1 MiB."))


def _people(name: str, texts: Sequence[str], problems: list[FieldError]) -> tuple[Person, ...]:
    if len(texts) > MOST_RECIPIENTS:
        problems.append(FieldError(name, "invalid", f"Send to at most {MOST_RECIPIENTS} addresses."))
        return ()
    found = [_person(f"{name}[{number}]", text, problems) for number, text in enumerate(texts)]
    return tuple(one for one in found if one)


def _person(field: str, text: str | None, problems: list[FieldError]) -> Person | None:
    if text is None:
        return None
    try:
        return parse_person(text)
    except BadAddress as error:
        problems.append(FieldError(field, error.code, error.message))
        return None


def _headers(headers: dict[str, str], problems: list[FieldError]) -> tuple[tuple[str, str], ...]:
    """The fields, which are told by their position: a name may be anything."""
    if len(headers) > MOST_HEADERS:
        problems.append(FieldError("headers", "invalid", f"Send at most {MOST_HEADERS} header fields."))
        return ()
    names = [name.lower() for name in headers]
    for number, (name, value) in enumerate(zip(names, headers.values(), strict=True), 1):
        fault = ""
        if not _HEADER_NAME.fullmatch(name):
            fault = "A name has up to 76 letters, digits and hyphens, and begins with a letter."
        elif name in OURS or name.startswith(OUR_BEGINNINGS):
            fault = "This header field is set by the server, or has a field of its own in the body."
        elif names.count(name) > 1:
            fault = "Send each header field once."
        elif not value.strip() or len(value) > LONGEST_HEADER or not is_one_line(value):
            fault = f"A value has 1 to {LONGEST_HEADER} characters, without control characters."
        if fault:
            problems.append(FieldError("headers", "invalid", f"Header field {number}: {fault}"))
            break
    return tuple(headers.items())


def _attachments(bodies: Sequence[AttachmentBody], problems: list[FieldError]) -> tuple[DraftAttachment, ...]:
    if len(bodies) > MOST_ATTACHMENTS:
        problems.append(FieldError("attachments", "invalid", f"Send at most {MOST_ATTACHMENTS} attachments."))
        return ()
    for number, one in enumerate(bodies):
        problems += _attachment_problems(f"attachments[{number}]", one)
    return tuple(DraftAttachment(one.content_type, one.content_base64, one.filename, one.content_id) for one in bodies)


def _attachment_problems(field: str, one: AttachmentBody) -> Iterable[FieldError]:
    is_name = 1 <= len(one.filename) <= LONGEST_FILENAME and is_one_line(one.filename)
    if not is_name or "/" in one.filename or "\\" in one.filename:
        message = f"A file name has 1 to {LONGEST_FILENAME} characters, without control characters, / and \\."
        yield FieldError(f"{field}.filename", "invalid", message)
    if content_type_of(one.content_type) is None:
        message = f"Send a type like application/pdf, at most {LONGEST_TYPE} characters, no multipart or message."
        yield FieldError(f"{field}.content_type", "invalid", message)
    if one.content_id is not None and not _CONTENT_ID.fullmatch(one.content_id):
        message = "A content id has 1 to 200 letters, digits, dots, @ and the like, without < and >."
        yield FieldError(f"{field}.content_id", "invalid", message)
