"""Messages that are built of any draft: every value is where it belongs, and nothing else is
there, as `email` and our own parser read it."""

import base64
import io
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.utils import collapse_rfc2231_value

from hypothesis import given
from hypothesis import strategies as st

from postroom.address import BadAddress
from postroom.messages.composer import compose, content_type_of
from postroom.messages.drafts import Draft, DraftAttachment
from postroom.messages.parser import Trust, parse
from postroom.messages.people import LONGEST_NAME, Person, is_one_line, parse_person

AT = datetime(2026, 1, 31, tzinfo=UTC)
FIELDS = {
    *("mime-version", "from", "to", "cc", "reply-to", "subject", "date", "message-id", "in-reply-to", "references"),
    *("x-a", "content-type", "content-transfer-encoding"),
}
PART_FIELDS = {*("content-type", "content-transfer-encoding", "content-disposition", "content-id", "mime-version")}
DISPOSITION = "content-disposition"
LINES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=300)
# Encoded words that a program which decodes them writes as line ends, NUL or a lone surrogate.
TRAPS = ("=?utf-8?q?a=0D=0AX-Evil:_1=0D=0A=0D=0Ab?=", "=?utf-8?q?a=00=0A.=0Ab?=", "=?utf-7?q?+2AA-?=")
SIGNS = ('"', "\\", "=?utf-8?q?x?=", "=?", "?=", ",", "<", ">", "@", " ", "  ", "ü", "株", ";", "a" * 80, "(", ")")
ODD = st.sampled_from((*SIGNS, *TRAPS))
WORDS = LINES | st.lists(ODD, max_size=40).map("".join)
NAMES = WORDS.map(lambda text: text[:LONGEST_NAME].strip() or None)
PEOPLE = st.builds(Person, NAMES, st.sampled_from(["a@b.cd", "a+b@xn--bcher-kva.example", "x.y@" + "z" * 60 + ".org"]))
TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=2000)
FILES = st.builds(
    DraftAttachment,
    st.sampled_from(["application/pdf", "text/plain; charset=utf-8", 'text/calendar; method="REQUEST"', "image/png"]),
    st.binary(max_size=300).map(lambda data: base64.b64encode(data).decode()),
    WORDS.map(lambda text: text.replace("/", "").replace("\\", "").strip()[:255].strip() or "a"),
    st.none() | st.sampled_from(["logo", "a.b@c", *(trap.replace(":", "") for trap in TRAPS)]),
)
DRAFTS = st.builds(
    Draft,
    PEOPLE,
    st.lists(PEOPLE, max_size=5).map(tuple),
    cc=st.lists(PEOPLE, max_size=3).map(tuple),
    bcc=st.lists(PEOPLE, max_size=3).map(tuple),
    reply_to=st.none() | PEOPLE,
    subject=st.none() | WORDS,
    text=TEXTS,
    html=TEXTS,
    attachments=st.lists(FILES, max_size=3).map(tuple),
    headers=WORDS.filter(str.strip).map(lambda text: (("X-A", text),)),
    in_reply_to=st.none() | st.just("<1@x>"),
    references=st.sampled_from([(), ("<1@x>", "<2@x>")]),
)


@given(DRAFTS)
def test_drafts(draft: Draft) -> None:
    file = io.BytesIO()
    compose(draft, "<own@demo.test>", AT, file)
    raw = file.getvalue()
    assert raw.isascii()
    assert raw.endswith(b"\r\n")
    assert raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    message = message_from_bytes(raw, policy=policy.default)
    names = [name.lower() for name in message]
    assert len(names) == len(set(names))
    assert set(names) <= FIELDS
    parsed = parse(raw, Trust("mail.test", has_filter=False))
    assert parsed.parse_error is None
    assert parsed.from_ is not None
    assert parsed.from_.address == draft.from_.address
    assert [one.address for one in parsed.cc] == list({one.key: one.address for one in draft.cc}.values())
    assert message.get_all("bcc") is None
    assert parsed.rfc_message_id == "<own@demo.test>"
    assert _plain(parsed.subject) == _plain(draft.subject)
    assert _plain(parsed.from_.name) == _plain(draft.from_.name)
    assert len(parsed.attachments) == len(draft.attachments)
    parts = [part for part in message_from_bytes(raw).walk() if part.get_param("filename", header=DISPOSITION)]
    names = [collapse_rfc2231_value(part.get_param("filename", header=DISPOSITION) or "") for part in parts]
    assert sorted(names) == sorted(one.filename or "" for one in draft.attachments)
    assert {name.lower() for part in parts for name in part} <= PART_FIELDS
    contents = [
        part.get_content() for part in message.walk() if part.get_content_type() in ("application/pdf", "image/png")
    ]
    sent = [one for one in draft.attachments if one.content_type in ("application/pdf", "image/png")]
    assert sorted(contents) == sorted(base64.b64decode(one.content_base64) for one in sent)


def _plain(text: str | None) -> str:
    """A text without what white space makes of it on its way."""
    return "".join((text or "").split())


@given(st.text(max_size=80) | st.lists(ODD | st.just("a@b.cd"), max_size=8).map("".join))
def test_people(text: str) -> None:
    try:
        person = parse_person(text)
    except BadAddress:
        return
    assert is_one_line(text)
    assert person.address.isascii()
    assert person.address.count("@") == 1
    field = person.field()
    assert field.isascii()
    assert "\n" not in field.replace("\n ", "")


@given(
    st.sampled_from(["message", "Multipart", "message_delivery", "message-delivery-status", "text", "x-world", "1"]),
    st.sampled_from(["status", "plain", "rfc822", "signed", "x"]),
)
def test_content_types(main: str, sub: str) -> None:
    """A type that `email` would take for parts is refused; every other can be sent."""
    kind = f"{main}/{sub}"
    assert (content_type_of(kind) is not None) == (main in ("text", "x-world", "1"))
    if content_type_of(kind):
        file = io.BytesIO()
        draft = Draft(Person(None, "a@b.cd"), (), attachments=(DraftAttachment(kind, "QUJD", "a", None),))
        compose(draft, "<own@demo.test>", AT, file)
        assert f"Content-Type: {kind}\r\n".encode() in file.getvalue()
