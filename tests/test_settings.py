"""Settings: where they come from, and that a mistake gives one line with the variable's name."""

import os
from pathlib import Path

import pytest

from postroom.settings import FILE, SYSTEM_DATA, BadSettings, Settings, from_environment, load, split
from tests.tables import describe


def from_file(folder, text):
    (folder / FILE).write_text(text, encoding="utf-8")
    return load({}, folder)


def test_it_works(tmp_path):
    settings = load({"POSTROOM_PORT": "3001", "POSTROOM_DATA": str(tmp_path), "PATH": "/bin"}, tmp_path)
    assert settings.port == 3001
    assert settings.data == tmp_path
    assert settings.imap_port == 1143
    assert settings.database == f"sqlite:///{tmp_path}/db/postroom.db"
    assert settings.api_url == "http://127.0.0.1:3001"


def test_defaults_of_the_contract(tmp_path):
    settings = load({}, tmp_path)
    assert (settings.host, settings.port, settings.mail, settings.outbound) == ("127.0.0.1", 3000, "on", "off")
    assert (settings.hostname, settings.mail_host) == ("mail.postroom.test", "127.0.0.1")
    assert (settings.message_size, settings.purge_days, settings.workers) == (50 * 1024 * 1024, 7, 1)
    ports = [settings.imap_port, settings.imaps_port, settings.pop3_port, settings.pop3s_port]
    ports += [settings.sieve_port, settings.smtp_port, settings.submission_port, settings.submissions_port]
    assert ports == [1143, 1993, 1110, 1995, 4190, 1025, 1587, 1465]
    assert (settings.events_days, settings.degraded_days) == (400, 30)
    assert len(Settings.__struct_fields__) <= 46


def test_the_data_directory_follows_the_user(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert load({}, tmp_path).data == SYSTEM_DATA
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert load({}, tmp_path).data == Path(__file__).resolve().parent.parent / "data"
    monkeypatch.chdir(tmp_path)
    assert load({"POSTROOM_DATA": "here"}, tmp_path).data == tmp_path / "here"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load({"POSTROOM_DATA": "~/mail"}, tmp_path).data == tmp_path / "mail"


def test_the_environment_goes_before_the_file(tmp_path):
    (tmp_path / FILE).write_text('port = 3005\nhostname = "mx.one.test"\n', encoding="utf-8")
    settings = load({"POSTROOM_PORT": "3006"}, tmp_path)
    assert (settings.port, settings.hostname) == (3006, "mx.one.test")


def test_empty_means_not_set(tmp_path):
    (tmp_path / FILE).write_text('port = 3005\nrelayhost = ""\nworkers = ""\n', encoding="utf-8")
    settings = load({"POSTROOM_PORT": "", "POSTROOM_DATA": "", "POSTROOM_HOST": ""}, tmp_path)
    assert (settings.port, settings.host, settings.relayhost, settings.workers) == (3005, "127.0.0.1", "", 1)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("POSTROOM_PROT", "POSTROOM_PORT"),
        ("POSTROOM_IMAP", "POSTROOM_IMAP_PORT"),
        ("POSTROOM_DB_URL", "POSTROOM_DATABASE_URL"),
        ("POSTROOM_HOST_NAME", "POSTROOM_HOSTNAME"),
        ("POSTROOM_port", "POSTROOM_PORT"),
        ("POSTROOM_SUBMISION_PORT", "POSTROOM_SUBMISSION_PORT"),
        ("POSTROOM_XYZZY", "docs/settings.md"),
        ("POSTROOM_", "docs/settings.md"),
    ],
)
def test_an_unknown_name(tmp_path, name, nearest):
    for value in ("1", ""):
        with pytest.raises(BadSettings, match=f"^{name} is not a setting.*{nearest}"):
            load({name: value}, tmp_path)


def test_an_unknown_name_in_the_file(tmp_path):
    with pytest.raises(BadSettings, match=r"postroom\.toml: prot is not a setting.*port"):
        from_file(tmp_path, "prot = 3000")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "9" * 40),
        ("PORT", " 3000"),
        ("WORKERS", "0"),
        ("WORKERS", "many"),
        ("PURGE_DAYS", "-1"),
        ("MESSAGE_SIZE", "50MB"),
        ("MAIL", "yes"),
        ("OUTBOUND", "true"),
        ("LOG_LEVEL", "loud"),
        ("HOST", "localhost"),
        ("HOST", "[::1]"),
        ("MAIL_HOST", "mail.example.com"),
        ("MAIL_HOST", " , "),
        ("MAIL_HOST", "127.0.0.1, 127.0.0.1"),
        ("HOSTNAME", "mail"),
        ("HOSTNAME", "127.0.0.1"),
        ("HOSTNAME", "mail_1.example.com"),
        ("HOSTNAME", "mx.example.com\nrelay_domains = *"),
        ("RELAYHOST", "relay.example.com:smtp"),
        ("RELAYHOST", "a b"),
        ("RELAYHOST", "relay.example.com\nmynetworks = 0.0.0.0/0"),
        ("RELAYHOST", "#relay.example.com"),
        ("RELAYHOST", "relay.example.com:0"),
        ("RELAY_USER", "a:b"),
        ("RELAY_USER", " a"),
        ("RELAY_USER", "someone"),
        ("RELAY_PASSWORD", " hush"),
        ("RELAY_PASSWORD", "hush\nx y"),
        ("RELAY_PASSWORD_FILE", "secret"),
        ("RELAY_CA", "ca.pem"),
        ("RELAY_CA", "/etc/ca.pem"),
        ("OUTBOUND_TLS", "dane,mta-sts"),
        ("FILTER_MILTER", "127.0.0.1:11332"),
        ("FILTER_MILTER", "inet:127.0.0.1"),
        ("FILTER_MILTER", "inet:127.0.0.1:65536"),
        ("FILTER_MILTER", "inet:::1:11332"),
        ("FILTER_MILTER", "unix:run/milter"),
        ("FILTER_MILTER", "inet:host:11332, default_action=reject"),
        ("FILTER_MILTER", "unix:/run/a}b"),
        ("FILTER_LEARN", "learn"),
        ("FILTER_LEARN", "/usr/bin/rspamc learn_spam"),
        ("RESOLVER", "dns.example.com"),
        ("RESOLVER", "9.9.9.9"),
        ("RATE_LIMIT", "lots"),
        ("RATE_LIMIT", "0/minute"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "proxy"),
        ("DATABASE_URL", "mysql://somebody:hush@localhost/x"),
        ("DATA", "~nobody-of-this-name/x"),
        ("DATA", "a\nb"),
    ],
)
def test_a_value_that_cannot_be(tmp_path, name, value):
    with pytest.raises(BadSettings) as refused:
        load({f"POSTROOM_{name}": value}, tmp_path)
    line = str(refused.value)
    assert f"POSTROOM_{name}" in line
    assert "\n" not in line
    assert "hush" not in line


def test_each_process_must_have_a_call_to_give(tmp_path):
    with pytest.raises(BadSettings, match="POSTROOM_RATE_LIMIT is shared"):
        load({"POSTROOM_RATE_LIMIT": "3/minute", "POSTROOM_WORKERS": "4"}, tmp_path)
    load({"POSTROOM_RATE_LIMIT": "4/minute", "POSTROOM_WORKERS": "4"}, tmp_path)
    load({"POSTROOM_RATE_LIMIT": "off", "POSTROOM_WORKERS": "4"}, tmp_path)


LOGIN = {"RELAYHOST": "[relay.example.com]:587", "RELAY_USER": "me", "RELAY_PASSWORD": "hush"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"RELAY_PASSWORD": ""}, "POSTROOM_RELAY_USER needs"),
        ({"RELAY_USER": ""}, "POSTROOM_RELAY_PASSWORD needs"),
        ({"RELAYHOST": ""}, "need POSTROOM_RELAYHOST"),
        ({"RELAY_PASSWORD_FILE": "/run/secret"}, "not both"),
        ({"OUTBOUND_TLS": "dane"}, "POSTROOM_OUTBOUND_TLS"),
    ],
)
def test_a_login_at_the_relay_host_is_whole(tmp_path, values, words):
    load({f"POSTROOM_{name}": value for name, value in LOGIN.items()}, tmp_path)
    with pytest.raises(BadSettings, match=words) as refused:
        load({f"POSTROOM_{name}": value for name, value in (LOGIN | values).items()}, tmp_path)
    assert "hush" not in str(refused.value)


def test_our_processes_do_not_get_the_relays_password(tmp_path):
    settings = load({f"POSTROOM_{name}": value for name, value in LOGIN.items()}, tmp_path)
    given = settings.environment()
    assert "hush" not in str(given)
    assert from_environment(given).relay_user == "me"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("port = true", "PORT"),
        ('port = "http"', "PORT"),
        ("port = [3000]", "PORT"),
        ("host = 5", "HOST"),
        ("data = 5", "DATA"),
        ("[data]\nx = 1", "DATA"),
    ],
)
def test_a_value_of_another_type_in_the_file(tmp_path, text, name):
    with pytest.raises(BadSettings, match=f"^POSTROOM_{name}: "):
        from_file(tmp_path, text)


def test_a_file_that_is_not_toml(tmp_path):
    with pytest.raises(BadSettings, match=r"postroom\.toml cannot be read"):
        from_file(tmp_path, "port = ")
    (tmp_path / FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(BadSettings, match=r"postroom\.toml cannot be read"):
        load({}, tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAIL_HOST", "127.0.0.1, ::1"),
        ("HOST", "::1"),
        ("RELAYHOST", "relay.example.com"),
        ("RELAYHOST", "relay.example.com:2525"),
        ("RELAYHOST", "[relay.example.com]:587"),
        ("RELAYHOST", "[::1]:2525"),
        ("FILTER_MILTER", "inet:127.0.0.1:11332"),
        ("FILTER_MILTER", "inet:rspamd.example.com:1"),
        ("FILTER_MILTER", "inet:[::1]:65535"),
        ("FILTER_MILTER", "unix:/run/rspamd/milter.sock"),
        ("FILTER_LEARN", "/usr/local/bin/learn"),
        ("RESOLVER", "127.0.0.1:5353"),
        ("RESOLVER", "[::1]:53"),
        ("RATE_LIMIT", "off"),
        ("RATE_LIMIT", "100/second"),
        ("TRUSTED_PROXIES", "10.0.0.0/8, 2001:db8::/32, 192.0.2.1"),
        ("DATABASE_URL", "postgresql://postroom@/postroom?host=/run/postgresql"),
        ("DATABASE_URL", "sqlite:////var/tmp/x.db"),
        ("LOG_LEVEL", "debug"),
        ("PURGE_DAYS", "0"),
    ],
)
def test_a_value_that_can_be(tmp_path, name, value):
    assert str(getattr(load({f"POSTROOM_{name}": value}, tmp_path), name.lower())) == value


def test_the_host_name_is_canonical(tmp_path):
    assert load({"POSTROOM_HOSTNAME": "Mail.Bücher.Example"}, tmp_path).hostname == "mail.xn--bcher-kva.example"


def test_lists(tmp_path):
    settings = load({"POSTROOM_MAIL_HOST": "127.0.0.1, [::1]"}, tmp_path)
    assert settings.listen_addresses == ["127.0.0.1", "::1"]
    assert split(" a,,b ,") == ["a", "b"]
    assert load({"POSTROOM_HOST": "::1"}, tmp_path).api_url == "http://[::1]:3000"


def test_certificate_and_key_belong_together(tmp_path):
    both = {"POSTROOM_TLS_CERT": "/tls/cert.pem", "POSTROOM_TLS_KEY": "/tls/key.pem"}
    assert load(both, tmp_path).tls_key == "/tls/key.pem"
    for name in both:
        with pytest.raises(BadSettings, match="TLS_CERT and POSTROOM_TLS_KEY"):
            load({name: both[name]}, tmp_path)


def test_one_port_twice(tmp_path):
    with pytest.raises(BadSettings, match=r"POSTROOM_SMTP_PORT and POSTROOM_PORT are both 1025"):
        load({"POSTROOM_PORT": "1025"}, tmp_path)
    load({"POSTROOM_PORT": "1025", "POSTROOM_SMTP_PORT": "3000"}, tmp_path)


def test_the_environment_of_our_processes_says_the_same(tmp_path):
    (tmp_path / FILE).write_text('port = 3005\ntrusted_proxies = "10.0.0.0/8"\n', encoding="utf-8")
    settings = load({"POSTROOM_DATA": str(tmp_path), "POSTROOM_RATE_LIMIT": "off"}, tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert load(settings.environment(), elsewhere) == settings


def test_every_setting_is_described():
    rows = {variable: (kind, default, text) for variable, kind, default, text in describe()}
    assert list(rows) == [f"POSTROOM_{name.upper()}" for name in Settings.__struct_fields__]
    assert rows["POSTROOM_PORT"][:2] == ("int", "3000")
    assert rows["POSTROOM_MAIL"][:2] == ("on or off", "on")
    assert rows["POSTROOM_DATA"][0] == "path"
    assert all(text.endswith(".") for _, _, text in rows.values())
