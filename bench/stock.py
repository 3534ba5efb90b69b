"""What the mail plane is compared with: Dovecot and Postfix as the distribution has them, over
flat files."""

import pwd
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness.ports import free_port

DOMAIN = "stock.test"
DOVECOT = """
base_dir = {folder}/run
state_dir = {folder}/run
instance_name = stock
protocols = imap lmtp
listen = 127.0.0.1
log_path = {folder}/dovecot.log
ssl = no
auth_mechanisms = plain login
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:~/Maildir
passdb {{
  driver = passwd-file
  args = username_format=%u {folder}/users
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={folder}/mail/%n
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
  service_count = 0
  process_min_avail = 1
  client_limit = 1000
}}
service lmtp {{
  unix_listener lmtp {{
    mode = 0600
    user = postfix
  }}
}}
"""
POSTFIX = """
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/state
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = stock.example
mydestination =
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = texthash:{folder}/mailboxes
virtual_transport = lmtp:unix:{folder}/run/lmtp
smtpd_relay_restrictions = reject_unauth_destination
smtpd_client_connection_count_limit = 0
"""


@dataclass(frozen=True)
class Stock:
    folder: Path
    imap: int
    smtp: int

    @property
    def mail(self) -> Path:
        return self.folder / "mail"


@contextmanager
def start(users: Mapping[str, str]) -> Iterator[Stock]:
    """Both daemons; `users` are names in DOMAIN with their hashes."""
    with tempfile.TemporaryDirectory(prefix="stock-", dir="/tmp", ignore_cleanup_errors=True) as name:
        stock = Stock(Path(name), free_port(), free_port())
        _write(stock, users)
        dovecot = ["dovecot", "-c", str(stock.folder / "dovecot.conf")]
        postfix = ["postfix", "-c", str(stock.folder / "postfix")]
        subprocess.run(dovecot, check=True)
        try:
            subprocess.run([*postfix, "start"], check=True, capture_output=True)
            try:
                yield stock
            finally:
                subprocess.run([*postfix, "stop"], check=True, capture_output=True)
        finally:
            subprocess.run(["doveadm", "-c", dovecot[2], "stop"], check=True)


def _write(stock: Stock, users: Mapping[str, str]) -> None:
    folder, owner = stock.folder, pwd.getpwnam("mail")
    folder.chmod(0o755)
    for part in ("run", "mail", "spool", "state", "postfix"):
        (folder / part).mkdir()
    subprocess.run(["chown", f"{owner.pw_uid}:{owner.pw_gid}", folder / "mail"], check=True)
    subprocess.run(["chown", "postfix", folder / "state"], check=True)
    (folder / "users").write_text("".join(f"{name}@{DOMAIN}:{hashed}\n" for name, hashed in users.items()))
    (folder / "users").chmod(0o644)
    (folder / "mailboxes").write_text("".join(f"{name}@{DOMAIN} x\n" for name in users))
    (folder / "dovecot.conf").write_text(DOVECOT.format(folder=folder, imap=stock.imap))
    (folder / "postfix" / "main.cf").write_text(POSTFIX.format(folder=folder, domain=DOMAIN))
    lines = Path("/usr/share/postfix/master.cf.dist").read_text()
    lines = re.sub(r"^smtp(\s+inet)", rf"127.0.0.1:{stock.smtp}\1", lines, flags=re.MULTILINE)
    unchrooted = re.sub(r"^(\S+\s+(?:inet|unix|unix-dgram)\s+\S\s+\S\s+)y", r"\1n", lines, flags=re.MULTILINE)
    (folder / "postfix" / "master.cf").write_text(unchrooted)
