"""The host that customers' DNS records lead to, and its ports as mail clients reach them."""

from typing import Literal

import msgspec


class MailHost(msgspec.Struct, frozen=True):
    """The host that the records lead to, and its ports as clients reach them. `sts_mode` is
    `enforce` where others can check its certificate."""

    name: str
    submission_port: int = 587
    submissions_port: int = 465
    imaps_port: int = 993
    imap_port: int = 143
    pop3s_port: int = 995
    pop3_port: int = 110
    sieve_port: int = 4190
    sts_mode: Literal["testing", "enforce"] = "testing"
