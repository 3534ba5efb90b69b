"""The mail host: the host that customers' DNS records point to, with its public ports."""

from typing import Literal

import msgspec


class MailHost(msgspec.Struct, frozen=True):
    """The name of the mail host, and the ports that mail clients connect to. `sts_mode` (RFC 8461)
    is `enforce` if other servers can verify the host's certificate. Without `has_submission` the
    host takes no mail from clients."""

    name: str
    submission_port: int = 587
    submissions_port: int = 465
    imaps_port: int = 993
    imap_port: int = 143
    pop3s_port: int = 995
    pop3_port: int = 110
    sieve_port: int = 4190
    sts_mode: Literal["testing", "enforce"] = "testing"
    has_submission: bool = True
