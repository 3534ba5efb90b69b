"""The values in /metrics besides the API's own counts: logins in Dovecot, Postfix's queues, the
certificate, the worker.

The values are measured during a scrape; a value that is not available is None. Only Postfix and
root can read the queues, so the supervisor, which is root, counts them every few seconds and
leaves the numbers in a file (decision 0083).
"""

import asyncio
import time

from cryptography import x509

from postroom.api.context import Measured
from postroom.mailplane import probe
from postroom.mailplane.dovecot import doveadm
from postroom.mailplane.postfix import queues
from postroom.mailplane.render import tls_paths
from postroom.service import health_checks
from postroom.settings import Settings


class Measures:
    """Measures the values when called."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def __call__(self) -> Measured:
        settings = self._settings
        mail = settings.mail == "on"
        return Measured(
            logins=await self._logins() if mail else None,
            mail_queue=queues.read(settings.data) if mail else None,
            certificate_ends=await asyncio.to_thread(_certificate_ends, settings) if mail else None,
            worker_silence=_worker_silence(settings),
            has_filter=await _has_filter(settings) if mail and settings.filter_milter else None,
        )

    async def _logins(self) -> dict[tuple[str, str], int] | None:
        endpoint = doveadm.local(self._settings.data / "run")
        return await doveadm.logins(endpoint) if endpoint else None


def _certificate_ends(settings: Settings) -> float | None:
    """Returns the end of the certificate in the file, in seconds since 1970 UTC, or None. The
    daemons read the file at their start and at a reload."""
    path, _ = tls_paths(settings)
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return None


async def _has_filter(settings: Settings) -> bool | None:
    reason = await probe.filter_milter(settings)
    return None if reason == probe.UNSEEN else reason is None


def _worker_silence(settings: Settings) -> float | None:
    try:
        return max(0.0, time.time() - health_checks.worker_alive(settings.data).stat().st_mtime)
    except OSError:
        return None
