"""A certificate that was renewed while the service runs.

Certificate and key are two files, which a renewal writes one after the other. A pair that does not
match is not used; the daemons keep the pair that they have read (decision 0098).
"""

import ssl
from pathlib import Path


class Renewal:
    """What the daemons have read, and whether there is something newer."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._paths = certificate, key
        self._seen = self._look()

    def due(self) -> str | None:
        """Once for each change: what is wrong with the new pair, or an empty text if it is to be
        read."""
        found = self._look()
        if found == self._seen:
            return None
        self._seen = found
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._paths)
        except OSError as error:  # ssl.SSLError too
            return error.strerror or str(error)
        return ""

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(path) for path in self._paths]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()  # through links: certbot moves them
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
