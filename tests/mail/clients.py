"""Mail clients for the tests. Each client connects from its own address in 127/8, because Dovecot
and Postfix slow down an address whose logins or commands often fail."""

import base64
import imaplib
import poplib
import random
import smtplib
import socket
import ssl
from email.message import EmailMessage

from tests.harness.service import Service, wait_for

HOST = "127.0.0.1"


def own_address() -> str:
    """Returns a loopback address that no other client uses."""
    return f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"


def tls() -> ssl.SSLContext:
    """Returns a TLS context that accepts the self-signed certificate of the service."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _OwnAddress:
    """Connects sockets from their own address, which imaplib and poplib cannot do."""

    host: str
    port: int
    ssl_context: ssl.SSLContext

    def _create_socket(self, timeout: float | None = None) -> socket.socket:
        plain = socket.create_connection((self.host, self.port), 60, (own_address(), 0))
        return self._wrap(plain)

    def _wrap(self, plain: socket.socket) -> socket.socket:
        return plain


class PlainImap(_OwnAddress, imaplib.IMAP4):
    """IMAP on the port for STARTTLS."""


class Imap(_OwnAddress, imaplib.IMAP4_SSL):
    """IMAP over TLS."""

    def _wrap(self, plain: socket.socket) -> socket.socket:
        return self.ssl_context.wrap_socket(plain)

    def subjects(self) -> list[str]:
        """Returns the subjects in the INBOX, oldest first."""
        self.select("INBOX", readonly=True)
        _, found = self.search(None, "ALL")
        return [self._subject(number) for number in found[0].split()]

    def _subject(self, number: bytes) -> str:
        _, data = self.fetch(number.decode(), "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        header: bytes = data[0][1]  # type: ignore[index, assignment]
        return header.decode().partition(":")[2].strip()

    def wait_for(self, subject: str) -> bytes:
        """Waits for the message with this subject and returns the whole message."""
        subjects = wait_for(f"the message {subject}", lambda: self._subjects_with(subject))
        _, data = self.fetch(str(subjects.index(subject) + 1), "(BODY.PEEK[])")
        message: bytes = data[0][1]  # type: ignore[index, assignment]
        return message

    def _subjects_with(self, subject: str) -> list[str]:
        found = self.subjects()
        return found if subject in found else []

    def is_open(self) -> bool:
        """Returns whether the server still reads this session."""
        try:
            return self.noop()[0] == "OK"
        except (imaplib.IMAP4.abort, OSError):
            return False


def imap_login(service: Service, user: str, password: str) -> Imap:
    imap = Imap(HOST, service.ports["imaps_port"], ssl_context=tls())
    try:
        imap.login(user, password)
    except Imap.error:
        imap.shutdown()
        raise
    return imap


class Pop3(poplib.POP3_SSL):
    """POP3 over TLS."""

    def _create_socket(self, timeout: float) -> socket.socket:
        plain = socket.create_connection((self.host, self.port), timeout, (own_address(), 0))
        return tls().wrap_socket(plain)


def smtp(service: Service) -> smtplib.SMTP:
    """Returns a connection like that of another mail server."""
    return smtplib.SMTP(HOST, service.ports["smtp_port"], "client.example", 60, (own_address(), 0))


def message(sender: str, to: str, subject: str) -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = sender, to, subject
    made["Message-ID"] = f"<{random.randrange(10**12)}@client.example>"
    made.set_content("Hello.\n")
    return made


def deliver(service: Service, sender: str, to: str, subject: str) -> None:
    """Delivers a message by SMTP from outside. Raises smtplib.SMTPRecipientsRefused."""
    with smtp(service) as client:
        client.send_message(message(sender, to, subject), sender, [to])


def refusal(service: Service, to: str) -> tuple[int, str]:
    """Returns Postfix's refusal of a recipient, or of the sender, in SMTP from outside."""
    with smtp(service) as client:
        client.ehlo()
        code, text = client.mail("someone@elsewhere.example")
        if code == 250:
            code, text = client.rcpt(to)
        return code, text.decode()


def submission(service: Service, user: str, password: str, over_tls: bool = True) -> smtplib.SMTP:
    """Returns a submission session after its login. Raises smtplib.SMTPAuthenticationError."""
    source = (own_address(), 0)
    client: smtplib.SMTP
    if over_tls:
        port = service.ports["submissions_port"]
        client = smtplib.SMTP_SSL(HOST, port, "client.example", timeout=60, context=tls(), source_address=source)
    else:
        client = smtplib.SMTP(HOST, service.ports["submission_port"], "client.example", 60, source)
        client.starttls(context=tls())
    client.ehlo()
    # smtplib's login can send only ASCII.
    secret = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    code, text = client.docmd("AUTH", f"PLAIN {secret}")
    if code != 235:
        client.close()
        raise smtplib.SMTPAuthenticationError(code, text)
    return client


def submit(service: Service, user: str, password: str, to: str, subject: str) -> None:
    """Submits a message from a user."""
    with submission(service, user, password) as client:
        client.send_message(message(user, to, subject), user, [to])


def put_script(host: str, port: int, user: str, password: str, script: bytes, name: str = "main") -> None:
    """Stores a Sieve script by ManageSieve and activates the script."""
    with sieve_login(host, port, user, password) as client:
        put = f'PUTSCRIPT "{name}" {{{len(script)}+}}\r\n'.encode() + script
        for line in (put, f'SETACTIVE "{name}"'.encode()):
            sieve_command(client, line)


def sieve_login(host: str, port: int, user: str, password: str) -> ssl.SSLSocket:
    """Returns a ManageSieve session after its login. Raises AssertionError if it is refused."""
    plain = socket.create_connection((host, port), 60, (own_address(), 0))
    _answer(plain)
    plain.sendall(b"STARTTLS\r\n")
    _answer(plain)
    client = tls().wrap_socket(plain)
    _answer(client)
    secret = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    try:
        sieve_command(client, f'AUTHENTICATE "PLAIN" "{secret}"'.encode())
    except AssertionError:
        client.close()
        raise
    return client


def sieve_command(client: ssl.SSLSocket, line: bytes) -> None:
    """Sends a command of ManageSieve. Raises AssertionError if it is refused or the session is
    over."""
    client.sendall(line + b"\r\n")
    _answer(client)


def _answer(client: socket.socket | ssl.SSLSocket) -> None:
    """Reads up to the line that ends an answer of ManageSieve."""
    text = b""
    while not any(line.startswith((b"OK", b"NO", b"BYE")) for line in text.splitlines() if text.endswith(b"\r\n")):
        chunk = client.recv(4096)
        assert chunk, text
        text += chunk
    assert any(line.startswith(b"OK") for line in text.splitlines()), text
