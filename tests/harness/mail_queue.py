"""The mail that waits in the Postfix of a service."""

import subprocess

from tests.harness.service import Service


def flush(service: Service) -> None:
    """Has Postfix try to deliver all mail in the queue now."""
    _postqueue(service, "-f")


def queued(service: Service) -> str:
    """Returns the mail in the queue, one JSON object a line (postqueue(1))."""
    return _postqueue(service, "-j")


def _postqueue(service: Service, option: str) -> str:
    command = ["/usr/sbin/postqueue", "-c", str(service.data / "postfix"), option]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
