"""A real Caddy and a real nginx in front of a real API: no body of one client is taken for a
request of another.

Both run with the files of deploy/proxy, and as others configure them: Caddy passes on every offer
to upgrade, and so does nginx with the usual lines for WebSockets.
"""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.harness.ports import free_port
from tests.harness.service import LONG, Service, wait_for

FILES = Path(__file__).parents[2] / "deploy" / "proxy"
# The hidden request has no key, so the API would refuse it with 401 and log its method. No other
# request here is a DELETE.
HIDDEN = b"DELETE /v2/email-accounts/1 HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)
START = b"POST /v2/email-accounts/create HTTP/1.1\r\nHost: api.example.com\r\nContent-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n\r\n" % len(HIDDEN)
ATTACKS = {
    "an upgrade": START + b"Connection: Upgrade\r\nUpgrade: x\r\n" + LENGTH + HIDDEN,
    "an upgrade to WebSocket": START + b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + LENGTH + HIDDEN,
    "an upgrade in chunks": START
    + b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n"
    + CHUNKS,
    "half a request": START + b"Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: 35\r\n\r\n" + HIDDEN[:33] + b"x:",
    "CONNECT": b"CONNECT api.example.com:80 HTTP/1.1\r\nHost: api.example.com:80\r\n" + LENGTH + HIDDEN,
    "gzip, chunked": START + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS,
    "a length and chunks": START + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "Expect": START + b"Expect: 100-continue\r\n" + LENGTH + HIDDEN,
    "a plain body": START + LENGTH + HIDDEN,
}
WEBSOCKETS = """
map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
upstream api { server 127.0.0.1:3000; keepalive 4; }
server {
    listen 443;
    location / {
        proxy_pass http://api;
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
    }
}
"""
PASSES_IT_ON = ":80 {\n\treverse_proxy 127.0.0.1:3000\n}\n"
NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    include {folder}/site;
}}
"""


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service.new(mail="off", rate_limit="off", trusted_proxies="127.0.0.1/32") as one:
        yield one.start()


@contextmanager
def running(port: int, *command: str | Path, **environment: str) -> Iterator[int]:
    process = subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for("the proxy", lambda: _listens(port) or process.poll() is not None)
        assert process.poll() is None, command
        yield port
    finally:
        process.terminate()
        process.wait(LONG)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def caddy(service: Service, folder: Path, text: str) -> Iterator[int]:
    """Runs Caddy with this configuration on ports of the test, without Caddy's administration
    port."""
    port = free_port()
    names = {"API_NAME": f"http://127.0.0.1:{port}", "API_UPSTREAM": f"127.0.0.1:{service.ports['port']}"}
    names["HOME"] = str(folder)
    (folder / "Caddyfile").write_text(
        text.replace(":80 {", f"{names['API_NAME']} {{").replace("127.0.0.1:3000\n", names["API_UPSTREAM"] + "\n")
    )
    adapt = ["caddy", "adapt", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    made: dict[str, Any] = json.loads(
        subprocess.run(adapt, env=os.environ | names, capture_output=True, check=True).stdout
    )
    for server in made["apps"]["http"]["servers"].values():  # any host name
        server["routes"] = [route | {"match": []} for route in server["routes"]]
    (folder / "config.json").write_text(json.dumps(made | {"admin": {"disabled": True}}))
    with running(port, "caddy", "run", "--config", folder / "config.json", **names):
        yield port


@contextmanager
def nginx(service: Service, folder: Path, text: str) -> Iterator[int]:
    """Runs nginx with this configuration on ports of the test, without TLS."""
    port = free_port()
    changes = (
        (r"listen 443( ssl http2)?;", f"listen 127.0.0.1:{port};", 1),
        (r" *listen \[::\]:443 ssl http2;\n", "", 1 if "[::]" in text else 0),
        (r" *ssl_certificate(_key)? .*;\n", "", 2 if "ssl_" in text else 0),
        (r"127\.0\.0\.1:3000", f"127.0.0.1:{service.ports['port']}", 1),
    )
    for old, new, times in changes:
        text, made = re.subn(old, new, text)
        assert made == times, old
    (folder / "site").write_text(text)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
    with running(port, "nginx", "-e", folder / "errors", "-p", folder, "-c", folder / "nginx.conf"):
        yield port


PROXIES = {
    "Caddy, ours": lambda service, folder: caddy(service, folder, (FILES / "Caddyfile").read_text()),
    "Caddy that passes all on": lambda service, folder: caddy(service, folder, PASSES_IT_ON),
    "nginx, ours": lambda service, folder: nginx(service, folder, (FILES / "nginx.conf").read_text()),
    "nginx with WebSockets": lambda service, folder: nginx(service, folder, WEBSOCKETS),
}


@pytest.fixture(scope="module", params=PROXIES)
def proxy(
    request: pytest.FixtureRequest, service: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, int]]:
    for name in ("caddy", "nginx"):
        assert shutil.which(name), f"{name} is missing: apt-get install caddy nginx-light"
    with PROXIES[request.param](service, tmp_path_factory.mktemp("proxy")) as port:
        yield request.param, port


def raw(port: int, data: bytes) -> int:
    """Sends these bytes on a connection that stays open until the answer. Returns the status of the
    first answer, or 0 if there is none."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=LONG) as client,
        closing(http.client.HTTPResponse(client)) as answer,
    ):
        client.sendall(data)
        try:
            answer.begin()
            answer.read()
        except (http.client.HTTPException, ConnectionError):
            return 0
        return answer.status


def asked(port: int, path: str, key: str | None = None, **headers: str) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LONG)) as client:
        sent = {name.replace("_", "-"): value for name, value in headers.items()} | ({"x-api-key": key} if key else {})
        client.request("GET", path, headers=sent)
        answer = client.getresponse()
        return answer.status, answer.read()


def test_it_works(proxy: tuple[str, int], service: Service) -> None:
    """The API sees the client's address, which only the trusted proxy can set."""
    _, port = proxy
    assert asked(port, "/healthz") == (200, b'{"status":"ok"}')
    status, text = asked(port, "/v2/domains?every_user=true", service.key(), X_Forwarded_For="192.0.2.1")
    assert (status, b"demo.test" in text) == (200, True)


def logged(service: Service) -> list[str]:
    """The methods of all refused requests until now. It sends a refused PATCH and waits for its log
    line, so all earlier lines are there."""

    def methods() -> list[str]:
        whole = (service.data / "log" / "api.log").read_text().rpartition("\n")[0].splitlines()
        return [str(json.loads(line).get("method")) for line in whole]

    before = methods().count("PATCH")
    assert raw(service.ports["port"], b"PATCH" + HIDDEN[6:]) == 401
    wait_for("the line in the log", lambda: methods().count("PATCH") > before)
    return methods()


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_body_of_one_client_is_no_request(proxy: tuple[str, int], service: Service, attack: str) -> None:
    name, port = proxy
    key = service.key()
    with ExitStack() as stack:
        victims = [
            stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LONG))) for _ in range(3)
        ]
        for number in range(12):
            status = raw(port, ATTACKS[attack])
            assert status != 101
            assert status in (0, 400, 401, 405, 501, 502), (name, status)
            victim = victims[number % 3]
            for path, found in (("/v2/email-accounts?limit=1", b'"items"'), ("/healthz", b'{"status":"ok"}')):
                victim.request("GET", path, headers={"x-api-key": key})
                answer = victim.getresponse()
                assert (answer.status, found in answer.read()) == (200, True), (name, attack, path)
    assert "DELETE" not in logged(service)


def test_our_configurations_remove_the_offer(proxy: tuple[str, int]) -> None:
    """Our files remove the offer, so the body is an ordinary one. With other files, the API refuses
    the request."""
    name, port = proxy
    status = raw(port, ATTACKS["an upgrade"])
    assert status == (401 if name.endswith("ours") else 400)
