"""Postfix's configuration of outbound mail as text. test_relay.py and test_outbound_tls.py test how
the real Postfix behaves with it."""

from dataclasses import replace
from pathlib import Path

import pytest

from postroom.mailplane import daemons
from postroom.mailplane.postfix import relay
from postroom.mailplane.render import OwnNode, configuration
from postroom.settings import BadSettings
from tests.mail.test_configuration import DATA, POSTGRES, ROOT, main_cf, render, settings

LOGIN = {"outbound": "on", "relayhost": "[relay.example.com]:587", "relay_user": "me", "relay_password": "hush"}
TABLE = f"texthash:{DATA}/postfix/relay_login"


@pytest.mark.parametrize(
    ("values", "level", "wrapped", "ca"),
    [
        ({"relayhost": ""}, "may", False, ""),
        ({"relayhost": "[relay.example.com]:25"}, "may", False, ""),
        ({"relayhost": "[relay.example.com]:465"}, "encrypt", True, ""),
        ({"relayhost": "[relay.example.com]:465", "relay_ca": "/etc/ca.pem"}, "secure", True, "/etc/ca.pem"),
        (LOGIN, "secure", False, relay.SYSTEM_CA),
        (LOGIN | {"relayhost": "relay.example.com:587"}, "secure", False, relay.SYSTEM_CA),
        (LOGIN | {"relayhost": "[relay.example.com]:465"}, "secure", True, relay.SYSTEM_CA),
        (LOGIN | {"relay_ca": "/etc/ca.pem"}, "secure", False, "/etc/ca.pem"),
        (LOGIN | {"relayhost": "[192.0.2.1]:587"}, "encrypt", False, ""),
        (LOGIN | {"relayhost": "[2001:db8::1]:465"}, "encrypt", True, ""),
        ({"relayhost": "", "outbound_tls": "dane"}, "dane", False, ""),
        ({"relayhost": "", "outbound_tls": "mta-sts"}, "may", False, relay.SYSTEM_CA),
    ],
)
def test_tls(values: dict[str, str], level: str, wrapped: bool, ca: str) -> None:
    found = main_cf(**{"outbound": "on"} | values)
    assert found["smtp_tls_security_level"] == level
    assert found.get("smtp_tls_wrappermode", "no") == ("yes" if wrapped else "no")
    assert found.get("smtp_tls_CAfile", "") == ca
    assert found.get("smtp_sasl_password_maps", "") == (TABLE if "relay_user" in values else "")
    assert found.get("smtp_dns_support_level", "") == ("dnssec" if level == "dane" else "")
    policies = "socketmap:inet:127.0.0.1:8461:postfix" if values.get("outbound_tls") == "mta-sts" else ""
    assert found.get("smtp_tls_policy_maps", "") == policies


def test_the_login_is_in_one_private_file() -> None:
    plane = replace(ROOT, relay_login=relay.login(settings(**LOGIN)))
    files = render(plane, **LOGIN)
    assert [path for path, file in files.items() if "hush" in file.text] == ["postfix/relay_login"]
    file = files["postfix/relay_login"]
    assert (file.mode, file.owner, file.text.splitlines()[1:]) == (0o600, "root", ["[relay.example.com]:587 me:hush"])
    assert "postfix/relay_login" in daemons.OBSOLETE  # so that it is removed without a login
    assert "smtp_sasl_auth_enable" not in main_cf(**LOGIN | {"outbound": "off"})
    assert relay.login(settings(**LOGIN | {"outbound": "off"})) == ""


def test_nothing_between_nodes_uses_the_relay_host() -> None:
    node = OwnNode(1, "x", 1, "x", "x", "x", "x", "192.0.2.1", ("192.0.2.1",))
    text = configuration(
        settings(**LOGIN | {"relayhost": "[relay.example.com]:465", "node": "n", "database_url": "postgresql:///x"}),
        replace(POSTGRES, node=node, relay_login="x"),
    )["postfix/master.cf"].text
    nodes = text[text.index("\nnodes ") :].partition("\n\n")[0]
    for option in ("sasl_auth_enable=no", "tls_wrappermode=no", "reply_filter=", "tls_security_level=verify"):
        assert f"-o smtp_{option}\n" in nodes


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b"\nhush", "no password"), (b"\xff\n", "UTF-8"), (b" hush\n", "space")],
)
def test_a_file_without_a_password(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    values = {name: value for name, value in LOGIN.items() if name != "relay_password"}
    with pytest.raises(BadSettings, match=words):
        relay.login(settings(**values, relay_password_file=str(path)))


def test_the_first_line_is_the_password(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    values = {name: value for name, value in LOGIN.items() if name != "relay_password"}
    for content in ("a: b #c", "a: b #c\r\nmore\n"):
        path.write_text(content)
        assert relay.password(settings(**values, relay_password_file=str(path))) == "a: b #c"


@pytest.mark.parametrize(
    ("values", "packages"),
    [
        (LOGIN, ["libsasl2-modules", "ca-certificates"]),
        (LOGIN | {"relay_ca": "/etc/ca.pem"}, ["libsasl2-modules"]),
        (LOGIN | {"outbound": "off"}, []),
        ({"outbound": "on", "outbound_tls": "mta-sts"}, ["ca-certificates"]),
        ({"outbound": "on"}, []),
    ],
)
def test_packages(values: dict[str, str], packages: list[str]) -> None:
    assert list(relay.packages(settings(**values))) == packages
    script = (Path(__file__).parents[2] / "scripts" / "install.sh").read_text()
    assert all(package in script for package in relay.PACKAGES)
