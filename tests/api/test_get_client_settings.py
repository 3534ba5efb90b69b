"""GET /v2/email-accounts/:id/client-settings, the profile for Apple devices, and the documents that
mail clients discover."""

import plistlib
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from postroom.domains.client_settings import OUTLOOK, REQUEST
from tests.harness.server import Response, Tenant

AUTOCONFIG = "/mail/config-v1.1.xml"
OF_SITE = "/.well-known/autoconfig/mail/config-v1.1.xml"
AUTODISCOVER = "/autodiscover/autodiscover.xml"
MOBILESYNC = "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006"


def autodiscover(
    tenant: Tenant, address: str, host: str, path: str = AUTODISCOVER, schema: str = OUTLOOK, media: str = "text/xml"
) -> Response:
    wanted = f"<EMailAddress>{address}</EMailAddress><AcceptableResponseSchema>{schema}</AcceptableResponseSchema>"
    body = f'<?xml version="1.0"?><Autodiscover xmlns="{REQUEST}"><Request>{wanted}</Request></Autodiscover>'
    headers = {"host": host, "content-type": media}
    return tenant.api.request("POST", path, raw=body.encode(), headers=headers)


def get(tenant: Tenant, host: str, path: str = AUTOCONFIG, **query: Any) -> Response:
    return tenant.api.request("GET", path, headers={"host": host}, **query)


def test_it_works(tenant: Tenant) -> None:
    account = tenant.account(display_name="Billing")
    answer = tenant.get(f"/v2/email-accounts/{account['id']}/client-settings", user_id="user_123")
    assert answer.status == 200
    server = {"host": "mail.postroom.test", "username": account["address"], "authentication": "plain"}
    assert answer.json == {
        "id": account["id"],
        "address": account["address"],
        "display_name": "Billing",
        "imap": [
            {**server, "port": 1993, "security": "tls"},
            {**server, "port": 1143, "security": "starttls"},
        ],
        "pop3": [
            {**server, "port": 1995, "security": "tls"},
            {**server, "port": 1110, "security": "starttls"},
        ],
        "submission": [
            {**server, "port": 1465, "security": "tls"},
            {**server, "port": 1587, "security": "starttls"},
        ],
        "managesieve": [{**server, "port": 4190, "security": "starttls"}],
    }


def test_the_profile(tenant: Tenant) -> None:
    account = tenant.account(display_name="Billing")
    answer = tenant.get(f"/v2/email-accounts/{account['id']}/client-settings.mobileconfig")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/x-apple-aspen-config"
    disposition = f'attachment; filename="{account["address"]}.mobileconfig"'
    assert answer.headers["content-disposition"] == disposition
    (mail,) = plistlib.loads(answer.text.encode())["PayloadContent"]
    assert (mail["EmailAddress"], mail["IncomingMailServerPortNumber"]) == (account["address"], 1993)


def test_a_deleted_account_has_none(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    assert tenant.post("/v2/email-accounts/delete", {"id": id_}).status == 200
    for end in ("", ".mobileconfig"):
        answer = tenant.get(f"/v2/email-accounts/{id_}/client-settings{end}")
        assert (answer.status, answer.code) == (404, "not_found")


def test_clients_find_it(tenant: Tenant) -> None:
    for path, host in (
        (AUTOCONFIG, f"autoconfig.{tenant.domain}"),
        (OF_SITE, f"AutoConfig.{tenant.domain.upper()}:443"),
        (OF_SITE, tenant.domain),
    ):
        answer = get(tenant, host, path, emailaddress=f"billing@{tenant.domain}")
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/xml; charset=utf-8"
        assert ET.fromstring(answer.text).findtext("emailProvider/domain") == tenant.domain
    for path in (AUTODISCOVER, "/Autodiscover/Autodiscover.xml", "/AutoDiscover/AutoDiscover.xml"):
        for host in (f"autodiscover.{tenant.domain}", tenant.domain, "mail.postroom.test"):
            answer = autodiscover(tenant, f"Billing@{tenant.domain.upper()}", host, path)
            assert (answer.status, answer.headers["content-type"]) == (200, "application/xml; charset=utf-8")
            login = ET.fromstring(answer.text).findtext(f".//{{{OUTLOOK}}}LoginName")
            assert login == f"billing@{tenant.domain}"


def test_at_the_host_of_the_mx_the_address_names_the_domain(tenant: Tenant) -> None:
    """A client that finds nothing at the domain asks at the name of the domain's MX, which many
    domains share."""
    answer = get(tenant, "autoconfig.postroom.test", emailaddress=f"x@{tenant.domain}")
    assert ET.fromstring(answer.text).findtext("emailProvider/domain") == tenant.domain
    assert get(tenant, "autoconfig.postroom.test", emailaddress="x@nobody-has-this.test").status == 404
    assert get(tenant, "autoconfig.postroom.test").status == 404
    elsewhere = get(tenant, "autoconfig.nobody-has-this.test", emailaddress=f"x@{tenant.domain}")
    assert elsewhere.status == 404


def test_whether_an_address_exists_does_not_show(tenant: Tenant) -> None:
    account = tenant.account("there")
    suspended = tenant.account("suspended")
    assert tenant.put(f"/v2/email-accounts/{suspended['id']}", {"status": "suspended"}).status == 200
    addresses = [account["address"], suspended["address"], f"nobody@{tenant.domain}", f"admin@{tenant.domain}"]
    host = f"autoconfig.{tenant.domain}"
    others = ["x@elsewhere.test", "<script>&", "no address", "a" * 5000]
    found = [get(tenant, host, emailaddress=address) for address in addresses + others] + [get(tenant, host)]
    assert {(answer.status, answer.text) for answer in found} == {(200, found[0].text)}
    told = [autodiscover(tenant, address, "mail.postroom.test") for address in addresses]
    texts = {answer.text.replace(address, "ADDRESS") for answer, address in zip(told, addresses, strict=True)}
    assert ({answer.status for answer in told}, len(texts)) == ({200}, 1)


@pytest.mark.parametrize(
    ("local_part", "login"),
    [
        ("Billing", "billing"),
        ("billing+tag", "billing"),
        ("Billing+A+b", "billing"),
        ("+tag", "+tag"),
        ("o'brien", "o'brien"),
        ("sales_-eu", "sales_-eu"),
        ("_leading", "_leading"),
        ("a..b", "a..b"),
        ("a=b/c%d", "a=b/c%d"),
        ("x" * 64, "x" * 64),
    ],
)
def test_outlook_is_answered_for_any_address_of_the_domain(tenant: Tenant, local_part: str, login: str) -> None:
    """Also for addresses that no account can have: an alias, a catch-all, a +tag. The login is the
    account's address."""
    answer = autodiscover(tenant, f"{local_part}@{tenant.domain}", "mail.postroom.test")
    assert answer.status == 200, answer.text
    assert ET.fromstring(answer.text).findtext(f".//{{{OUTLOOK}}}LoginName") == f"{login}@{tenant.domain}"


HOSTS = [
    "autoconfig.autoconfig.{domain}",
    "xautoconfig.{domain}",
    "autoconfig.",
    "autoconfig.{domain}.",
    "autoconfig.nobody-has-this.test",
    "autoconfig.{pending}",
    "autoconfig.{suspended}",
    "autoconfig.{deleted}",
    "127.0.0.1:3000",
    "",
]


def names(tenant: Tenant) -> dict[str, str]:
    found = {"domain": tenant.domain, "deleted": tenant.new_domain(user_id="u")}
    found |= {status: tenant.new_domain(status=status) for status in ("pending", "suspended")}  # type: ignore[arg-type]
    assert tenant.post("/v2/domains/delete", {"domain": found["deleted"], "user_id": "u"}).status == 200
    return found


def test_any_other_host_is_nothing(tenant: Tenant) -> None:
    known = names(tenant)
    missing = tenant.api.request("GET", AUTOCONFIG)
    assert (missing.status, missing.code) == (404, "not_found")
    for host in HOSTS:
        headers = {"host": host.format(**known), "x-forwarded-host": f"autoconfig.{tenant.domain}"}
        for path in (AUTOCONFIG, OF_SITE):
            answer = tenant.api.request("GET", path, headers=headers, emailaddress=f"x@{tenant.domain}")
            known_id = {"request_id": answer.headers["x-request-id"]}
            assert (answer.status, answer.json) == (404, missing.json | known_id), (host, path)
    assert get(tenant, tenant.domain).status == 404


@pytest.mark.parametrize(
    "host", ["autoconfig.{domain}:443:443", "autoconfig.{domain}/x", "autoconfig.{domain}@evil.test"]
)
def test_an_invalid_host(tenant: Tenant, host: str) -> None:
    """RFC 9112 3.2: an invalid Host is refused before any lookup."""
    answer = tenant.api.request("GET", AUTOCONFIG, headers={"host": host.format(domain=tenant.domain)})
    assert (answer.status, answer.code) == (400, "invalid_request")


def test_any_other_question_of_outlook_is_nothing(tenant: Tenant) -> None:
    known, here = names(tenant), "mail.postroom.test"
    refused = [autodiscover(tenant, f"x@{known[kind]}", here) for kind in ("pending", "suspended", "deleted")]
    refused += [autodiscover(tenant, address, here) for address in ("x@nobody-has-this.test", "", "x", "a b@c")]
    refused += [autodiscover(tenant, f"{local}@{tenant.domain}", here) for local in ("", "x" * 65, "ü", '"a b"', "a b")]
    refused += [autodiscover(tenant, f"x@{tenant.domain}", host) for host in ("other.test", f"x.{tenant.domain}", "")]
    refused += [autodiscover(tenant, f"x@{tenant.domain}", here, schema=MOBILESYNC)]
    assert {(answer.status, answer.code) for answer in refused} == {(404, "not_found")}
    assert {answer.text.replace(answer.headers["x-request-id"], "") for answer in refused} == {
        refused[0].text.replace(refused[0].headers["x-request-id"], "")
    }


@pytest.mark.parametrize(
    ("body", "media", "status"),
    [
        (b"<a>", "text/xml", 400),
        (b"", "text/xml", 400),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "text/xml; charset=utf-8", 400),
        (b"<a/>", "application/json", 415),
        (b"<a>" + b" " * 65536 + b"</a>", "text/xml", 413),
    ],
)
def test_an_invalid_request(tenant: Tenant, body: bytes, media: str, status: int) -> None:
    answer = tenant.api.request("POST", AUTODISCOVER, raw=body, headers={"content-type": media})
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_nothing_is_echoed_as_it_came(tenant: Tenant) -> None:
    for local in ("&lt;script&gt;", "x&amp;y", "&quot;x&quot;", "x&#10;y"):
        assert autodiscover(tenant, f"{local}@{tenant.domain}", "mail.postroom.test").status == 404
    assert autodiscover(tenant, f"x@{tenant.domain}", tenant.domain, media="text/xml; charset=UTF-8").status == 200


def test_other_methods(tenant: Tenant) -> None:
    refused = tenant.api.request("GET", "/AUTODISCOVER/autodiscover.xml")
    assert (refused.status, refused.headers["allow"]) == (405, "POST")
    assert tenant.api.request("POST", AUTOCONFIG, {}).status == 405
    assert tenant.api.request("POST", "/Mail/config-v1.1.xml", {}).status == 404
