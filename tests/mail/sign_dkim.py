"""Signs a message on stdin with dkimpy and writes the signature field and the message.

    /usr/bin/python3 sign_dkim.py KEYFILE DOMAIN SELECTOR [CANONICALIZATION [ALGORITHM [length]]] <
message
"""

import sys
from pathlib import Path

import dkim

key, domain, selector, *options = sys.argv[1:]
canonicalization, algorithm, length = (*options, *("relaxed/relaxed", "rsa-sha256", "")[len(options) :])
message = sys.stdin.buffer.read()
signer = dkim.DKIM(message, signature_algorithm=algorithm.encode())
field = signer.sign(
    selector.encode(),
    domain.encode(),
    Path(key).read_bytes(),
    canonicalize=tuple(part.encode() for part in canonicalization.split("/")),
    include_headers=[b"from", b"subject"],
    length=bool(length),
)
sys.stdout.buffer.write(field + message)
