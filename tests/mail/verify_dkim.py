"""Verifies the DKIM signature of a message on stdin with dkimpy, using a DNS server.

    /usr/bin/python3 verify_dkim.py ADDRESS:PORT < message

dkimpy is from Debian (python3-dkim), so this script runs in Debian's Python, not in the venv of the
tests.
"""

import sys

import dkim
import dns.resolver

resolver = dns.resolver.Resolver(configure=False)
host, _, port = sys.argv[1].rpartition(":")
resolver.nameservers, resolver.port = [host], int(port)


def txt(name: bytes, timeout: float = 5) -> bytes | None:
    try:
        answer = resolver.resolve(name.decode().rstrip("."), "TXT", lifetime=timeout)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return None
    return b"".join(answer[0].strings)


print("good" if dkim.verify(sys.stdin.buffer.read(), dnsfunc=txt) else "bad")
