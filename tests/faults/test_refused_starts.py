"""Conditions that stop a start: the exit code says that another attempt does not help, and one line
says what to fix.

tests/service/test_serve.py and tests/service/test_serve_mail.py test a taken port and a broken
database.
"""

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from postroom.mailplane.certificate import self_signed
from tests.harness.service import COMMAND, LONG, Service

AS_ROOT = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root: only root refuses a file that another user can write"
)


def folder_of(service: Service) -> Path:
    return service.data.parent


def settings_file(service: Service, content: bytes) -> None:
    path = folder_of(service) / "postroom.toml"
    path.write_bytes(content)
    service.variables["POSTROOM_SETTINGS"] = str(path)


def broken_file(service: Service) -> None:
    settings_file(service, b'hostname = "mail.example.com\n')


def unknown_setting(service: Service) -> None:
    settings_file(service, b'host_name = "mail.example.com"\n')


def binary_file(service: Service) -> None:
    settings_file(service, bytes(range(256)))


def wrong_value(service: Service) -> None:
    settings_file(service, b'message_size = "much"\n')


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


def open_file(service: Service) -> None:
    settings_file(service, b"port = 3000\n")
    (folder_of(service) / "postroom.toml").chmod(0o666)


def missing_file(service: Service) -> None:
    service.variables["POSTROOM_SETTINGS"] = str(folder_of(service) / "nothing.toml")


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
        pytest.param(open_file, "can be written by another user", marks=AS_ROOT),
        (missing_file, "POSTROOM_SETTINGS"),
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
