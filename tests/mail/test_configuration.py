"""The generated configuration as text. Other files in this folder test how the real daemons behave
with it."""

import re
import string
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from postroom.instance.system_user import Identity
from postroom.mailplane import certificate, daemons
from postroom.mailplane.internal_addresses import login_name
from postroom.mailplane.render import (
    BEYOND_ASCII,
    MAPS,
    PATTERNS,
    USERNAME_CHARS,
    File,
    Plane,
    configuration,
    reachable,
)
from postroom.settings import Settings, load

DATA = "/var/lib/postroom/data"
KEY = "the-doveadm-key"
ROOT = Plane("postroom", "postroom", root=True, python="/usr/bin/python3", doveadm_key=KEY)
ROLE = {"host": "127.0.0.1", "port": "5432", "dbname": "mail", "user": "mail_role", "password": "the-password"}
POSTGRES = Plane("postroom", "postroom", root=True, python="/usr/bin/python3", doveadm_key=KEY, postgres=ROLE)
TRIXIE = replace(ROOT, dovecot="2.4")
ROOTLESS = Plane("dev", "staff", root=False, python="/usr/bin/python3", doveadm_key=KEY)


def settings(**values: str) -> Settings:
    return load({"POSTROOM_" + name.upper(): value for name, value in ({"data": DATA} | values).items()})


def render(plane: Plane = ROOT, /, **values: str) -> dict[str, File]:
    return configuration(settings(**values), plane)


def main_cf(**values: str) -> dict[str, str]:
    """Returns main.cf as Postfix reads it: a line that starts with a space continues the previous
    line."""
    text = re.sub(r"(?m)^#.*\n", "", render(ROOT, **values)["postfix/main.cf"].text)
    lines = re.sub(r"\n[ \t]+", " ", text).splitlines()
    return dict(re.split(r"\s*=\s*", line, maxsplit=1) for line in lines if line)


def services(**values: str) -> dict[str, str]:
    """Returns master.cf as a dictionary from the name of a service to the rest of its line."""
    text = re.sub(r"(?m)^#.*\n", "", render(ROOT, **values)["postfix/master.cf"].text)
    lines = re.sub(r"\n[ \t]+", " ", text).splitlines()
    return dict(line.split(maxsplit=1) for line in lines if line)


def dovecot(plane: Plane = ROOT, **values: str) -> str:
    return render(plane, **values)["dovecot/dovecot.conf"].text


# For tests of Dovecot's configuration, which run for both versions.
BOTH = pytest.mark.parametrize("version", daemons.DOVECOT_VERSIONS)
TABLES = [f"postfix/{name}" for name in PATTERNS]


def test_it_works() -> None:
    assert sorted(render()) == [
        "dovecot/auth.lua",
        "dovecot/before.sieve",
        "dovecot/dovecot.conf",
        "dovecot/folders.acl",
        "dovecot/hidden.sieve",
        "dovecot/quota-warning",
        "dovecot/refused.lua",
        "dovecot/scripts.conf.ext",
        "dovecot/sendmail",
        "opendkim/opendkim.conf",
        "opendkim/sign.lua",
        "opendkim/signed.lua",
        *sorted(["postfix/main.cf", "postfix/master.cf", *(f"postfix/{name}.cf" for name in MAPS), *TABLES]),
        "run/doveadm.key",
    ]


@BOTH
def test_every_file_is_filled_in_and_says_where_it_comes_from(version: str) -> None:
    for path, file in render(replace(ROOT, dovecot=version)).items():
        assert "{{" not in file.text.replace("{ {", ""), path
        if path != "run/doveadm.key":
            assert file.text.startswith(("#", "--")), path


def test_the_key_is_in_one_private_file() -> None:
    files = render()
    assert [path for path, file in files.items() if KEY in file.text] == ["run/doveadm.key"]
    assert (files["run/doveadm.key"].mode, files["run/doveadm.key"].owner) == (0o600, "postroom")


def test_the_password_of_the_database_is_for_who_reads_it_alone() -> None:
    files = render(POSTGRES)
    private = {path: file for path, file in files.items() if ROLE["password"] in file.text}
    assert {path: (file.owner, file.mode) for path, file in private.items()} == {
        "dovecot/database.conf": ("postroom", 0o600),
        "run/postfix-database.conf": ("postfix", 0o600),
        "opendkim/database.conf": ("postroom", 0o600),
    }
    assert not [path for path, file in files.items() if "sqlite:" in file.text.lower()]


def test_the_engines_differ_in_how_they_are_asked_only() -> None:
    sqlite, postgres = render(), render(POSTGRES)
    assert sqlite.keys() <= postgres.keys()
    private = {"dovecot/database.conf", "opendkim/database.conf", "run/postfix-database.conf"}
    assert set(postgres) - set(sqlite) == private | {"postfix/answers.cf"}
    for name in MAPS:
        first, second = (files[f"postfix/{name}.cf"].text.partition("query = ")[2] for files in (sqlite, postgres))
        view = re.search(r"(mail_\w+) WHERE", first)
        assert view, first
        assert f" {view[1]}_by(" in second


@pytest.mark.parametrize(
    ("role", "words"),
    [
        ({"host": "/run/postgresql"}, "host"),
        ({"host": "::1"}, "host"),
        ({"dbname": "a/b"}, "dbname"),
        ({"password": "x\nhost=elsewhere"}, "password"),
        ({"password": "x "}, "password"),
    ],
)
def test_it_refuses_a_database_that_a_daemon_would_misread(role: dict[str, str], words: str, tmp_path: Path) -> None:
    found = settings(data=str(tmp_path), database_url="postgresql://localhost/mail")
    with pytest.raises(daemons.Unusable, match=words):
        daemons.write_configuration(found, Identity("dev", 1, 1), KEY, ROLE | role)
    assert list(tmp_path.iterdir()) == []


@BOTH
def test_without_root_there_is_no_postfix_and_no_other_user(version: str) -> None:
    files = render(replace(ROOTLESS, dovecot=version))
    assert sorted(files.keys() - {f"dovecot/{name}" for name in ("scripts.conf.ext", "folders.acl", "none.sieve")}) == [
        "dovecot/auth.lua",
        "dovecot/before.sieve",
        "dovecot/dovecot.conf",
        "dovecot/hidden.sieve",
        "dovecot/quota-warning",
        "dovecot/refused.lua",
        "run/doveadm.key",
    ]
    text = files["dovecot/dovecot.conf"].text
    assert set(re.findall(r"\n\s*(?:default_\w+_)?user = (\S+)", text)) == {"dev"}
    assert "chroot =\n" in text
    assert "postdrop" not in text


@BOTH
def test_the_rules_of_dovecot(version: str) -> None:
    text = dovecot(replace(ROOT, dovecot=version))
    lines = {line.strip() for line in text.splitlines()}
    assert lines >= {
        "auth_cache_size = 0",
        "auth_failure_delay = 2 secs",
        "auth_verbose_passwords = no",
        "ssl = required",
        {"2.3": "disable_plaintext_auth = yes", "2.4": "auth_allow_cleartext = no"}[version],
        "sieve_max_cpu_time = 10s",
        "sieve_redirect_envelope_from = user_email",
        "lmtp_save_to_detail_mailbox = no",
        "mail_max_userip_connections = 50",
        "doveadm_port = 0",
    }
    # Dovecot's default set and non-ASCII bytes, but no character that has a meaning in SQL
    # (CVE-2026-24031).
    chars = re.findall(r"^auth_username_chars = (.*)$", text, re.MULTILINE)
    assert [text.encode("ascii", "ignore").decode() for text in chars] == [USERNAME_CHARS]
    assert set(USERNAME_CHARS) == set(string.ascii_letters + string.digits + ".-_@")
    assert set(BEYOND_ASCII.encode()) == {*range(0x80, 0xC0), *range(0xC2, 0xF5)}
    assert not re.search(r"service (lmtp|doveadm) \{[^}]*inet_listener", text)


@BOTH
def test_the_database_is_read_by_its_owner(version: str) -> None:
    assert re.search(r"service auth-worker \{\s*user = postroom\s*\}", dovecot(replace(ROOT, dovecot=version)))
    assert services()["proxymap"].split()[:4] == ["unix", "-", "n", "n"]


def test_a_suspended_account_is_hidden_from_smtp() -> None:
    for plane in (ROOT, TRIXIE, POSTGRES):
        assert "(nologin IS NULL OR $3 <> 'smtp')" in render(plane)["dovecot/auth.lua"].text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mynetworks", ""),
        ("mydestination", ""),
        ("relay_domains", ""),
        ("virtual_alias_domains", ""),
        ("disable_vrfy_command", "yes"),
        ("smtpd_forbid_bare_newline", "yes"),
        ("smtpd_forbid_unauth_pipelining", "yes"),
        ("smtpd_tls_auth_only", "yes"),
        ("smtpd_sasl_auth_enable", "no"),
        ("virtual_mailbox_limit", "0"),
        ("hopcount_limit", "50"),
        ("smtpd_relay_restrictions", "$readable_recipient, reject_unauth_destination"),
    ],
)
def test_the_rules_of_postfix(name: str, value: str) -> None:
    assert main_cf()[name] == value


def test_the_queue_wants_room_for_a_message_and_a_half() -> None:
    values = main_cf(message_size="1000001")
    assert int(values["queue_minfree"]) >= 1.49 * int(values["message_size_limit"])


def test_every_listener_refuses_internal_names_and_closed_mailboxes() -> None:
    values = main_cf()
    for name in ("smtpd_recipient_restrictions", "submission_recipient_restrictions"):
        assert "$closed_recipients" in values[name]
    assert "acct.internal = 550 5.1.1" in values["closed_recipients"]
    assert "acct.internal = FILTER error:5.1.1" in values["replies_recipient_restrictions"]


def test_proxymap_opens_our_maps_and_nothing_else() -> None:
    values = main_cf()
    used = set(re.findall(r"proxy:\S+\.cf", " ".join(v for k, v in values.items() if k != "proxy_read_maps")))
    assert used == set(values["proxy_read_maps"].split(", "))


def test_each_address_has_its_listeners() -> None:
    found = services(mail_host="127.0.0.1,::1", smtp_port="25", submission_port="587", submissions_port="465")
    assert {name for name, rest in found.items() if rest.startswith("inet")} == {
        f"{host}:{port}" for host in ("127.0.0.1", "[::1]") for port in (25, 587, 465)
    }
    assert main_cf(mail_host="127.0.0.1,::1")["inet_protocols"] == "all"
    assert main_cf()["inet_protocols"] == "ipv4"
    assert "\nlisten = 127.0.0.1, ::1\n" in dovecot(mail_host="127.0.0.1,::1")


def test_the_only_other_way_in_is_a_unix_socket() -> None:
    public = [rest for rest in services().values() if rest.endswith("smtpd") or " smtpd " in rest]
    assert [rest.split()[0] for rest in public] == ["inet", "inet", "inet", "unix", "unix", "unix"]


def test_submission_authenticates_and_asks_for_the_session_again() -> None:
    found = services()
    for port in (1587, 1465):
        assert "-o smtpd_sasl_auth_enable=yes" in found[f"127.0.0.1:{port}"]
        assert "-o smtpd_end_of_data_restrictions=$submission_end_of_data_restrictions" in found[f"127.0.0.1:{port}"]
    values = main_cf()
    assert values["submission_end_of_data_restrictions"] == "$live_session"
    assert values["submission_sender_restrictions"].startswith("$live_session,")


def test_what_is_submitted_is_signed_and_nothing_else() -> None:
    """Postroom's milter runs first, so that refused mail is never signed. On port 25 it is the only
    milter. On the API's socket it runs last, because it takes each message once."""
    asked = {name: re.findall(r"smtpd_milters=\$(\w+)", rest) for name, rest in services().items()}
    assert {name: lists for name, lists in asked.items() if lists} == {
        "127.0.0.1:1025": ["inbound_milters"],
        "127.0.0.1:1587": ["submission_milters"],
        "127.0.0.1:1465": ["submission_milters"],
        "replies": ["replies_milters"],
        "forwards": ["forwards_milters"],
        "api": ["api_milters"],
    }
    values = main_cf()
    signer = f"unix:{DATA}/opendkim/socket/milter"
    for name in ("submission", "replies"):
        assert values[f"{name}_milters"] == f"unix:{DATA}/milter/socket/{name}, {signer}"
    assert values["api_milters"] == f"{signer}, unix:{DATA}/milter/socket/api"
    assert values["forwards_milters"] == f"unix:{DATA}/milter/socket/forwards"
    assert values["inbound_milters"].startswith(f"{{ unix:{DATA}/milter/socket/inbound, ")
    assert "default_action" not in values["inbound_milters"]
    assert values["milter_default_action"] == "tempfail"
    assert not {"smtpd_milters", "non_smtpd_milters"} & values.keys()


def test_outbound_is_off_unless_told() -> None:
    assert "POSTROOM_OUTBOUND=off" in main_cf()["default_transport"]
    values = main_cf(outbound="on", relayhost="[smtp.example.com]:2525")
    assert "default_transport" not in values
    assert values["relayhost"] == "[smtp.example.com]:2525"


@pytest.mark.parametrize(
    ("listen", "dial"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("127.0.0.5", "127.0.0.5"), ("::1", "::1")]
)
def test_the_address_to_dial(listen: str, dial: str) -> None:
    assert reachable(listen) == dial


def test_two_instances_share_nothing() -> None:
    for file in render(data="/srv/other").values():
        assert DATA not in file.text


def test_names() -> None:
    assert login_name(7, 3) == "7@3.acct.internal"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"database_url": "sqlite:////srv/a+b.db"}, "opendkim"),
        ({"tls_cert": "/nonexistent/cert.pem", "tls_key": "/nonexistent/key.pem"}, "POSTROOM_TLS_CERT"),
        ({"filter_learn": "/nonexistent/learn"}, "POSTROOM_FILTER_LEARN"),
        ({"filter_learn": "/etc/passwd"}, "POSTROOM_FILTER_LEARN"),
        ({"tls_cert": "/etc/a b.pem", "tls_key": "/etc/key.pem"}, "a b.pem"),
    ],
)
def test_it_refuses(values: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(daemons.Unusable, match=words):
        daemons.write_configuration(settings(**{"data": str(tmp_path)} | values), Identity("dev", 1, 1), KEY)
    assert list(tmp_path.iterdir()) == []


def test_the_certificate_is_kept_while_it_serves(tmp_path: Path) -> None:
    pair = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.ensure(*pair, "mail.example.com")
    first = [path.read_bytes() for path in pair]
    certificate.ensure(*pair, "mail.example.com")
    assert [path.read_bytes() for path in pair] == first
    assert pair[1].stat().st_mode & 0o777 == 0o600
    certificate.ensure(*pair, "mail.example.org")
    names = x509.load_pem_x509_certificate(pair[0].read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert "mail.example.org" in names.value.get_values_for_type(x509.DNSName)


def test_a_certificate_near_its_end_is_made_again(tmp_path: Path) -> None:
    pair = tmp_path / "cert.pem", tmp_path / "key.pem"
    old = certificate.self_signed("mail.example.com", datetime.now(UTC) - certificate.LIFETIME)
    for path, content in zip(pair, old, strict=True):
        path.write_bytes(content)
    certificate.ensure(*pair, "mail.example.com")
    assert pair[0].read_bytes() != old[0]


# Lines of notices and the results.
NOTICES = """
<7@acct.internal> (expanded from <a@x.test>): the mailbox said => REPLACE <a@x.test>: the mailbox said
<7@acct.internal> (expanded from => REPLACE A mailbox (of
Final-Recipient: rfc822; 7@acct.internal => REPLACE Final-Recipient: x-local; mailbox
Original-Recipient: rfc822;a@x.test =>
Diagnostic-Code: smtp; 550 <7@acct.internal> 7@acct.internal => REPLACE Diagnostic-Code: smtp; 550 <mailbox> mailbox
    7@acct.internal => IGNORE
Your message to <7@acct.internal> was automatically rejected: => REPLACE Your message was automatically rejected:
somebody@acct.internal =>
"""
REPLIES = """
5.1.1 host m[/d/lmtp] said: 550 5.1.1 <7@acct.internal> No: 7@acct.internal (in reply) => 5.1.1 the mailbox said: No
4.2.0 host m[/d/lmtp] said: 451 4.2.0 <7@acct.internal> Later (in reply to DATA) => 4.2.0 the mailbox said: Later
4.3.0 host m[/d/lmtp] said: 421 4.3.0 Bye => 4.3.0 host the mailbox server said: 421 4.3.0 Bye
4.4.1 connect to m[/d/lmtp]: Connection refused => 4.4.1 connect to the mailbox server: Connection refused
4.4.2 lost connection with m[/d/lmtp] while receiving => 4.4.2 lost connection with the mailbox server while receiving
2.0.0 250 2.0.0 <7@acct.internal> abc Saved =>
"""
ADDRESSES = """
a@x.test => a@x.test
a+b@x.test => a@x.test
a+b+c@x.test => a@x.test
a+b@c@x.test => a@x.test
+a@x.test =>
a@b@x.test =>
x.test =>
@x.test =>
a@ =>
"""
INTERNAL = """
7@acct.internal => 7@acct.internal
7+tag@acct.internal => 7+tag@acct.internal
@acct.internal =>
7@acct.internal.test =>
7@acct-internal =>
a@x.test =>
"""
SAID = {"notices": NOTICES, "replies": REPLIES, "addresses": ADDRESSES, "internal": INTERNAL}


@pytest.mark.parametrize("name", SAID)
def test_the_regexps(tmp_path: Path, name: str) -> None:
    """Text for other hosts has no internal name, and a view gets the address without its tag. The
    test queries the tables as Postfix does."""
    (tmp_path / "main.cf").touch()
    (tmp_path / name).write_text(render()[f"postfix/{name}.regexp"].text)
    for line, answer in (pair.split(" =>") for pair in SAID[name].strip("\n").splitlines()):
        command = ["/usr/sbin/postmap", "-c", str(tmp_path), "-q", line, f"regexp:{tmp_path / name}"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.stdout.strip(), done.stderr) == (answer.strip(), ""), line
