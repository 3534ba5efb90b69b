"""DKIM, DMARC, TLS-RPT and MTA-STS records: which values receivers use."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.domains import txt_records

KEY = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A" + "b" * 340 + "IDAQAB"
WANTED = f"v=DKIM1; k=rsa; p={KEY}"

DKIM = [
    (WANTED, None),
    (f"p={KEY}", None),
    (f"k=rsa;p={KEY};", None),
    (f" v = DKIM1 ; p = {KEY[:90]} {KEY[90:]} ; t=s; n=some words, and more; s=* ; ", None),
    (f"v=DKIM1;\r\n p={KEY}", None),
    (f"v=DKIM1; s=email:x; h=sha1 : sha256; g=*; p={KEY}", None),
    (f"V=DKIM2; p={KEY}", None),
    (f"p={KEY}; v=DKIM1", "must begin with v=DKIM1"),
    (f"k=rsa; v=DKIM1; p={KEY}", "must begin with v=DKIM1"),
    (f"v=dkim1; p={KEY}", "must begin with v=DKIM1"),
    (f"v=DKIM1.0; p={KEY}", "must begin with v=DKIM1"),
    (f"v=DKIM2; p={KEY}", "must begin with v=DKIM1"),
    (f"v=; p={KEY}", "must begin with v=DKIM1"),
    (f"v=DKIM1; p={KEY}; p={KEY}", "more than once"),
    (f"v=DKIM1; v=DKIM1; p={KEY}", "more than once"),
    (f"v=DKIM1; rsa; p={KEY}", "a list of tags"),
    (f"v=DKIM1;; p={KEY}", "a list of tags"),
    (f"; v=DKIM1; p={KEY}", "a list of tags"),
    (f"v=DKIM1; n=Schlüssel; p={KEY}", "a list of tags"),
    (f"v=DKIM1; 1=x; p={KEY}", "a list of tags"),
    (f"v=DKIM1, p={KEY}", "must begin with v=DKIM1"),
    (f"v=DKIM1 p={KEY}", "must begin with v=DKIM1"),
    ("hello", "a list of tags"),
    ("", "no p="),
    ("v=DKIM1; k=rsa", "no p="),
    (f"v=DKIM1; P={KEY}", "no p="),
    ("v=DKIM1; p=", "revokes"),
    ("v=DKIM1; p= ;", "revokes"),
    (f"v=DKIM1; p={KEY[:-1]}", "cut off"),
    (f"v=DKIM1; p={KEY}A", "Another key"),
    (f"v=DKIM1; p={KEY.lower()}", "Another key"),
    (f"v=DKIM1; k=RSA; p={KEY}", "tags beside it"),
    (f"v=DKIM1; k=ed25519; p={KEY}", "tags beside it"),
    (f"v=DKIM1; h=sha1; p={KEY}", "tags beside it"),
    (f"v=DKIM1; s=tlsrpt; p={KEY}", "tags beside it"),
    (f"v=DKIM1; t=s : y; p={KEY}", "in test mode"),
]
DMARC = [
    ("v=DMARC1; p=none", None),
    ("v=DMARC1;p=reject;", None),
    ("V = DMARC1\t;\tp\t=\tQuarantine\t;\t", None),
    ("v=DMARC1; p=none ", None),
    ("v=DMARC1; sp=reject; rua=mailto:a@x.example,mailto:b@x.example!10m; p=none; fo=1:d; pct=20", None),
    ("v=DMARC1; p=none; rua=nonsense; adkim=x; unknown=1; and words", None),
    ("v=DMARC1;; p=none", None),
    ("v=dmarc1; p=none", "begin with v=DMARC1 in capitals"),
    ("v=Dmarc1; p=none", "begin with v=DMARC1 in capitals"),
    ("v=DMARC1 p=none", "begin with v=DMARC1 in capitals"),
    ("v=DMARC1, p=none", "begin with v=DMARC1 in capitals"),
    ("v=DMARC2; p=none", "begin with v=DMARC1 in capitals"),
    ("v=DMARC1.0; p=none", "begin with v=DMARC1 in capitals"),
    (" v=DMARC1; p=none", "begin with v=DMARC1 in capitals"),
    ("p=none; v=DMARC1", "begin with v=DMARC1 in capitals"),
    ("v=DMARC1", "no p="),
    ("v=DMARC1; rua=mailto:a@x.example", "no p="),
    ("v=DMARC1; p=", "no p="),
    ("v=DMARC1; p=maybe", "no p="),
    ("v=DMARC1; p=none reject", "no p="),
    ("v=DMARC1; p=\u017fecret", "no p="),
    ("v=DMARC1; p=none; p=reject", "more than once"),
    ("v=DMARC1; p=none; sp=maybe", "an sp="),
]
TLS_RPT = [
    ("v=TLSRPTv1; rua=mailto:a@x.example", None),
    ("v=TLSRPTv1;rua=https://x.example/v1?a=b;", None),
    ("v=TLSRPTv1 ;\trua=MAILTO:a@x.example , https://x.example ; ext=1; a.b-c_d=<>", None),
    ("v=TLSRPTv1; rua=ftp://x.example,mailto:a@x.example", None),
    ("v=tlsrptv1; rua=mailto:a@x.example", "begin with v=TLSRPTv1;"),
    ("V=TLSRPTv1; rua=mailto:a@x.example", "begin with v=TLSRPTv1;"),
    ("v = TLSRPTv1; rua=mailto:a@x.example", "begin with v=TLSRPTv1;"),
    ("v=TLSRPTv1", "begin with v=TLSRPTv1;"),
    ("v=TLSRPTv1 rua=mailto:a@x.example", "begin with v=TLSRPTv1;"),
    ("rua=mailto:a@x.example; v=TLSRPTv1;", "begin with v=TLSRPTv1;"),
    ("v=TLSRPTv1;", "there must be fields"),
    ("v=TLSRPTv1; rua=mailto:a@x.example;;", "there must be fields"),
    ("v=TLSRPTv1; rua = mailto:a@x.example", "there must be fields"),
    ("v=TLSRPTv1; rua=mailto:a@x.example; ext=a b", "there must be fields"),
    ("v=TLSRPTv1; rua=mailto:a@x.example ", "there must be fields"),
    ("v=TLSRPTv1; ext=1", "one rua="),
    ("v=TLSRPTv1; RUA=mailto:a@x.example", "one rua="),
    ("v=TLSRPTv1; rua=a@x.example", "one rua="),
    ("v=TLSRPTv1; rua=mailto:a@x.example b@x.example", "one rua="),
    ("v=TLSRPTv1; rua=mailto:a@x.example,", "one rua="),
    ("v=TLSRPTv1; rua=mailto:a@x.example; rua=mailto:b@x.example", "one rua="),
    ("v=TLSRPTv1; rua=http://x.example", "neither a mailto: nor an https:"),
]
MTA_STS = [
    ("v=STSv1; id=20260101T000000", None),
    ("v=STSv1;id=1;", None),
    ("v=STSv1 ; id=1 ; ", None),
    ("v=STSv1; id=1; ext=1; a.b-c_d=<>", None),
    ("v=STSv1; ext=1; id=1", None),
    ("v=STSv1; id=" + "a" * 32, None),
    ("v=stsv1; id=1", "begin with v=STSv1;"),
    ("V=STSv1; id=1", "begin with v=STSv1;"),
    ("v = STSv1; id=1", "begin with v=STSv1;"),
    ("v=STSv1 id=1", "begin with v=STSv1;"),
    ("v=STSv1", "begin with v=STSv1;"),
    ("id=1; v=STSv1;", "begin with v=STSv1;"),
    ("v=STSv1;", "there must be fields"),
    ("v=STSv1; id=1;;", "there must be fields"),
    ("v=STSv1; id = 1", "there must be fields"),
    ("v=STSv1; id=1; ext=a=b", "there must be fields"),
    ("v=STSv1; id=1; ext=", "there must be fields"),
    ("v=STSv1; id=1; -ext=1", "there must be fields"),
    ("v=STSv1; id=1; " + "e" * 33 + "=1", "there must be fields"),
    ("v=STSv1; id=1 ", "there must be fields"),
    ("v=STSv1; ext=1", "one id="),
    ("v=STSv1; id=has-hyphen", "one id="),
    ("v=STSv1; id=" + "a" * 33, "one id="),
    ("v=STSv1; ID=1", "one id="),
    ("v=STSv1; id=1; id=2", "one id="),
    ("v=STSv1; id=１", "one id="),
]


def dkim_fault(value: str) -> str | None:
    return txt_records.dkim_fault(value, WANTED)


TABLES: dict[str, tuple[txt_records.Judge, list[tuple[str, str | None]]]] = {
    "dkim": (dkim_fault, DKIM),
    "dmarc": (txt_records.dmarc_fault, DMARC),
    "tls_rpt": (txt_records.tls_rpt_fault, TLS_RPT),
    "mta_sts": (txt_records.mta_sts_fault, MTA_STS),
}
CASES = [(kind, *row) for kind, (_, rows) in TABLES.items() for row in rows]


@pytest.mark.parametrize(("kind", "value", "fault"), CASES, ids=str)
def test_a_value(kind: str, value: str, fault: str | None) -> None:
    judge, _ = TABLES[kind]
    found = judge(value)
    if fault is None:
        assert found is None
    else:
        assert found
        assert fault in found
        assert found[0].isupper()
        assert found[-1] == "."


# Random text around a version.
VALUE = st.text(st.sampled_from("v=;: \t\r\nDKIM1p" + "é\x00"), max_size=20)


@settings(max_examples=300)
@given(VALUE, VALUE)
def test_what_is_used_has_its_version_first(before: str, behind: str) -> None:
    """Whatever surrounds the version: a value without a fault is a value that receivers use."""
    for judge, is_one, valid in [
        (txt_records.dmarc_fault, txt_records.is_dmarc, "v=DMARC1; p=none"),
        (txt_records.tls_rpt_fault, txt_records.is_tls_rpt, "v=TLSRPTv1; rua=mailto:a@x.example"),
        (txt_records.mta_sts_fault, txt_records.is_mta_sts, "v=STSv1; id=1"),
    ]:
        value = f"{before}{valid}{behind}"
        assert judge(value) is not None or is_one(value)
        assert not is_one(value) or value.startswith(("v", "V"))
