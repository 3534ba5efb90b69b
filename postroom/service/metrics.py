"""What /metrics tells beside the API's own counts: logins at Dovecot, Postfix's queues, the
certificate, the worker.

A scrape asks for these when it comes, and what gives no answer is None. The queues belong to
Postfix and root; the supervisor, which is root, counts them now and then and leaves the numbers
in a file (decision 0083).
"""

import asyncio
import time

from cryptography import x509

from postroom.api.context import Measured
from postroom.mailplane.dovecot import doveadm
from postroom.mailplane.postfix import queues
from postroom.mailplane.render import tls_paths
from postroom.service import health_checks
from postroom.settings import Settings


class Measures:
    """Measures on request."""

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
        )

    async def _logins(self) -> dict[tuple[str, str], int] | None:
        endpoint = doveadm.local(self._settings.data / "run")
        return await doveadm.logins(endpoint) if endpoint else None


def _certificate_ends(settings: Settings) -> float | None:
    """The one in the file. The daemons have read it when they started, or were told to."""
    path, _ = tls_paths(settings)
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return None


def _worker_silence(settings: Settings) -> float | None:
    try:
        return max(0.0, time.time() - health_checks.worker_alive(settings.data).stat().st_mtime)
    except OSError:
        return None
