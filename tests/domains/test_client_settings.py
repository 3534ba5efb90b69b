"""The documents for mail clients, parsed with an XML parser and plistlib and compared with the
specifications of their formats."""

import plistlib
import xml.etree.ElementTree as ET

import pytest

from postroom.domains import client_settings
from postroom.domains.client_settings import ANSWER, OUTLOOK, REQUEST, BadRequest, Server
from postroom.mail_host import MailHost
from postroom.settings import BadSettings, Settings, load

HOST = MailHost("mail.example.net")
ADDRESS = "sales@example.com"


def profile(id_: int, address: str, display_name: str | None, host: MailHost, *off: str) -> str:
    made = client_settings.profile(id_, address, display_name, host, off)
    assert made
    return made


def test_it_works() -> None:
    known = client_settings.settings(HOST, ADDRESS)
    assert known.imap == [
        Server("mail.example.net", 993, "tls", ADDRESS),
        Server("mail.example.net", 143, "starttls", ADDRESS),
    ]
    assert [(way.port, way.security) for way in known.pop3] == [(995, "tls"), (110, "starttls")]
    assert [(way.port, way.security) for way in known.submission] == [(465, "tls"), (587, "starttls")]
    assert [(way.port, way.security) for way in known.managesieve] == [(4190, "starttls")]


def test_without_submission_no_document_names_a_server_for_it() -> None:
    host = MailHost("mail.example.net", has_submission=False)
    assert client_settings.settings(host, ADDRESS).submission == []
    autoconfig = ET.fromstring(client_settings.autoconfig("example.com", host))[0]
    assert [server.tag for server in autoconfig[3:]] == ["incomingServer"] * 4
    autodiscover = ET.fromstring(client_settings.autodiscover(ADDRESS, host))
    assert [found.text for found in autodiscover.iter(f"{{{OUTLOOK}}}Type")] == ["IMAP", "POP3"]
    payload = plistlib.loads(profile(1, ADDRESS, None, host).encode())["PayloadContent"][0]
    assert "IncomingMailServerHostName" in payload
    assert not [name for name in payload if name.startswith("OutgoingMail")]


def test_what_is_switched_off_is_not_shown() -> None:
    known = client_settings.settings(HOST, ADDRESS, ("imap", "smtp", "sieve"))
    assert (known.imap, known.submission, known.managesieve, len(known.pop3)) == ([], [], [], 2)
    payload = plistlib.loads(profile(1, ADDRESS, None, HOST, "imap", "smtp").encode())["PayloadContent"][0]
    assert (payload["EmailAccountType"], payload["IncomingMailServerPortNumber"]) == ("EmailTypePOP", 995)
    assert not [name for name in payload if name.startswith("OutgoingMail")]
    assert client_settings.profile(1, ADDRESS, None, HOST, ("imap", "pop3")) is None


def test_the_ports_are_those_that_clients_reach() -> None:
    listening = Settings().dns_host
    assert (listening.imaps_port, listening.submissions_port, listening.sieve_port) == (1993, 1465, 4190)
    outside = load({"POSTROOM_PUBLIC_PORTS": "imaps=993, submission=587"}).dns_host
    assert (outside.imaps_port, outside.submission_port, outside.imap_port) == (993, 587, 1143)
    for wrong in ("imaps", "imaps=", "imaps=0", "imaps=65536", "imaps=9 9", "smtp=25", "993", "imaps=-1"):
        with pytest.raises(BadSettings, match="POSTROOM_PUBLIC_PORTS"):
            load({"POSTROOM_PUBLIC_PORTS": wrong})


def test_autoconfig_is_as_published() -> None:
    """The elements of version 1.1 in their order, with the words of the format."""
    root = ET.fromstring(client_settings.autoconfig("example.com", HOST))
    assert (root.tag, root.attrib, [child.tag for child in root]) == (
        "clientConfig",
        {"version": "1.1"},
        ["emailProvider"],
    )
    provider = root[0]
    assert provider.get("id") == "example.com"
    head = ["domain", "displayName", "displayShortName"]
    assert [child.tag for child in provider] == head + ["incomingServer"] * 4 + ["outgoingServer"] * 2
    assert [child.text for child in provider[:3]] == ["example.com"] * 3
    found = []
    for server in provider[3:]:
        assert [child.tag for child in server] == ["hostname", "port", "socketType", "authentication", "username"]
        host, port, socket, authentication, username = (child.text for child in server)
        assert (host, authentication, username) == ("mail.example.net", "password-cleartext", "%EMAILADDRESS%")
        found.append((server.get("type"), port, socket))
    assert found == [
        ("imap", "993", "SSL"),
        ("imap", "143", "STARTTLS"),
        ("pop3", "995", "SSL"),
        ("pop3", "110", "STARTTLS"),
        ("smtp", "465", "SSL"),
        ("smtp", "587", "STARTTLS"),
    ]


def test_autodiscover_is_as_published() -> None:
    root = ET.fromstring(client_settings.autodiscover(ADDRESS, HOST))
    assert [element.tag for element in (root, root[0], root[0][0])] == [
        f"{{{ANSWER}}}Autodiscover",
        f"{{{OUTLOOK}}}Response",
        f"{{{OUTLOOK}}}Account",
    ]
    kind, action, *protocols = root[0][0]
    assert (kind.text, action.text) == ("email", "settings")
    found = [{child.tag.removeprefix(f"{{{OUTLOOK}}}"): child.text for child in protocol} for protocol in protocols]
    assert [(p["Type"], p["Port"]) for p in found] == [("IMAP", "993"), ("POP3", "995"), ("SMTP", "465")]
    for protocol in found:
        assert protocol["Server"] == "mail.example.net"
        assert protocol["LoginName"] == ADDRESS
        switches = {name: protocol[name] for name in ("SSL", "Encryption", "SPA", "DomainRequired", "AuthRequired")}
        assert switches == {
            "SSL": "on",
            "Encryption": "SSL",
            "SPA": "off",
            "DomainRequired": "off",
            "AuthRequired": "on",
        }
    assert found[2]["UsePOPAuth"] == "on"


def asked(inside: str, head: str = '<?xml version="1.0" encoding="utf-8"?>') -> bytes:
    return f'{head}<Autodiscover xmlns="{REQUEST}"><Request>{inside}</Request></Autodiscover>'.encode()


def test_a_request_is_read() -> None:
    whole = f"<EMailAddress> {ADDRESS}\n</EMailAddress><AcceptableResponseSchema>{OUTLOOK}</AcceptableResponseSchema>"
    request = client_settings.parse_autodiscover(asked(whole))
    assert (request.address, request.schema) == (ADDRESS, OUTLOOK)
    prefixed = f'<a:Autodiscover xmlns:a="{REQUEST}"><a:Request><a:EMailAddress>x&amp;y</a:EMailAddress></a:Request>'
    assert client_settings.parse_autodiscover(f"{prefixed}</a:Autodiscover>".encode("utf-16")).address == "x&y"
    for nothing in ("", "<Other>x</Other>", "<Deep><EMailAddress>x@y.test</EMailAddress></Deep>", "<a><b/></a>"):
        assert client_settings.parse_autodiscover(asked(nothing)).address == ""
    assert client_settings.parse_autodiscover(b"<a><b><EMailAddress>x</EMailAddress></b></a>").address == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<a>",
        b"\xff\xfe\xfd",
        b'<?xml version="1.0" encoding="klingon"?><a/>',
        b"<?xml version='1.0' encoding='utf-7'?><a/>",
        asked("<EMailAddress>x</EMailAddress>", "<!DOCTYPE Autodiscover>"),
        asked("<EMailAddress>&x;</EMailAddress>", '<!DOCTYPE a [<!ENTITY x "y">]>'),
        asked("<EMailAddress>&x;</EMailAddress>", '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
        asked("<EMailAddress>&x;</EMailAddress>"),
        asked("", '<!DOCTYPE a SYSTEM "http://127.0.0.1/x.dtd">'),
        asked("<a>" * 8000 + "</a>" * 7999),
        asked("<EMailAddress>\x00</EMailAddress>"),
    ],
)
def test_an_invalid_request(body: bytes) -> None:
    with pytest.raises(BadRequest):
        client_settings.parse_autodiscover(body)


def test_many_elements_in_each_other() -> None:
    assert client_settings.parse_autodiscover(asked("<a>" * 8000 + "</a>" * 8000)).address == ""


def test_the_profile_is_a_property_list() -> None:
    """The keys of Apple's Configuration and com.apple.mail.managed payloads, with their types."""
    made = profile(42, ADDRESS, "Sales & <Co>", HOST)
    whole = plistlib.loads(made.encode())
    (mail,) = whole.pop("PayloadContent")
    assert whole["PayloadType"] == "Configuration"
    assert mail["PayloadType"] == "com.apple.mail.managed"
    for payload in (whole, mail):
        assert payload["PayloadVersion"] == 1
        assert payload["PayloadIdentifier"].startswith("mail.example.net.account.42")
        assert payload["PayloadUUID"].count("-") == 4
    assert whole["PayloadUUID"] != mail["PayloadUUID"]
    assert mail["EmailAccountType"] == "EmailTypeIMAP"
    assert (mail["EmailAddress"], mail["EmailAccountName"]) == (ADDRESS, "Sales & <Co>")
    for way, port in (("Incoming", 993), ("Outgoing", 465)):
        assert mail[f"{way}MailServerHostName"] == "mail.example.net"
        assert mail[f"{way}MailServerPortNumber"] == port
        assert mail[f"{way}MailServerUseSSL"] is True
        assert mail[f"{way}MailServerUsername"] == ADDRESS
        assert mail[f"{way}MailServerAuthentication"] == "EmailAuthPassword"
    assert not [key for key in mail if key.endswith("Password") and isinstance(mail[key], str)]
    assert profile(42, ADDRESS, "Sales & <Co>", HOST) == made
    other = plistlib.loads(profile(43, ADDRESS, None, HOST).encode())
    assert other["PayloadUUID"] != whole["PayloadUUID"]
    assert "EmailAccountName" not in other["PayloadContent"][0]


@pytest.mark.parametrize("name", ["\ufffe", "a\uffffb", "\U0001f4ee", "]]>", "&#0;", "\u0085\u2028"])
def test_a_profile_with_any_display_name_is_xml(name: str) -> None:
    whole = plistlib.loads(profile(1, ADDRESS, name, HOST).encode())
    assert whole["PayloadContent"][0].get("EmailAccountName", "") == name.replace("\ufffe", "").replace("\uffff", "")
