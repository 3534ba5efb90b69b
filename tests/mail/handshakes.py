"""TLS handshakes with offers that no good client makes. `openssl s_client` accepts any list of
ciphers."""

import subprocess

WEAK = {
    "no certificate": ("-tls1_2", "-cipher", "aNULL:@SECLEVEL=0"),
    "no encryption": ("-tls1_2", "-cipher", "eNULL:@SECLEVEL=0"),
    "TLS 1.0": ("-tls1", "-cipher", "ALL:@SECLEVEL=0"),
    "TLS 1.1": ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
}
GOOD = {
    "TLS 1.2": ("-tls1_2", "-cipher", "HIGH:!aNULL"),
    "TLS 1.3": ("-tls1_3",),
}


def taken(address: str, port: int, protocol: str, offer: tuple[str, ...]) -> bool:
    """Returns whether the server accepts the client's offer. `protocol` is the protocol of
    STARTTLS; if it is empty, TLS starts at once."""
    starttls = ("-starttls", protocol) if protocol else ()
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"{address}:{port}", *starttls, *offer],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "onnection refused" not in done.stderr
    return "Cipher is (NONE)" not in done.stdout and "New, TLS" in done.stdout
