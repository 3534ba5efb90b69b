"""What stops a start: the exit code says that trying again does not help, and one line says what to mend.

A taken port and a broken database are in tests/test_serve.py and tests/test_serve_mail.py.
"""

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from postroom.mailplane.certificate import self_signed
from tests.service import COMMAND, LONG, Service


def folder_of(service: Service) -> Path:
    return service.data.parent


def broken_file(service: Service) -> None:
    (folder_of(service) / "postroom.toml").write_text('hostname = "mail.example.com\n')


def unknown_setting(service: Service) -> None:
    (folder_of(service) / "postroom.toml").write_text('host_name = "mail.example.com"\n')


def binary_file(service: Service) -> None:
    (folder_of(service) / "postroom.toml").write_bytes(bytes(range(256)))


def wrong_value(service: Service) -> None:
    (folder_of(service) / "postroom.toml").write_text('message_size = "much"\n')


def certificate(service: Service, cert: bytes | None, key: bytes | None) -> None:
    for name, text in (("cert.pem", cert), ("key.pem", key)):
        if text is not None:
            (folder_of(service) / name).write_bytes(text)
    service.settings |= {
        "tls_cert": str(folder_of(service) / "cert.pem"),
        "tls_key": str(folder_of(service) / "key.pem"),
    }


def pair() -> tuple[bytes, bytes]:
    return self_signed("mail.own.example", datetime.now(UTC))


def no_certificate(service: Service) -> None:
    certificate(service, None, None)


def no_key(service: Service) -> None:
    certificate(service, pair()[0], None)


def broken_certificate(service: Service) -> None:
    certificate(service, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", pair()[1])


def another_key(service: Service) -> None:
    certificate(service, pair()[0], pair()[1])


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (broken_file, "postroom.toml cannot be read"),
        (binary_file, "postroom.toml cannot be read"),
        (unknown_setting, "Did you mean hostname?"),
        (wrong_value, "POSTROOM_MESSAGE_SIZE"),
        (no_certificate, "POSTROOM_TLS_CERT"),
        (no_key, "POSTROOM_TLS_KEY"),
        (broken_certificate, "POSTROOM_TLS_CERT"),
        (another_key, "POSTROOM_TLS_KEY"),
    ],
)
def test_it_refuses(service: Service, broken: Callable[[Service], None], said: str) -> None:
    broken(service)
    command, folder = [str(COMMAND), "serve"], folder_of(service)
    done = subprocess.run(command, env=service.environment, cwd=folder, capture_output=True, text=True, timeout=LONG)
    words = done.stdout + done.stderr
    assert done.returncode == 2, words
    assert said in words
    problem = [line for line in words.splitlines() if "✓" not in line and line.strip()]
    assert len(problem) == 1, words
    assert "Traceback" not in words
    assert service.processes() == {}
