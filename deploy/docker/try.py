"""Runs inside a container of the image: starts Postroom, creates a mailbox, sends it a mail over
SMTP, reads the mail over IMAP, and stops Postroom. Uses the standard library alone."""

import http.client
import imaplib
import json
import smtplib
import ssl
import subprocess
import sys
import time
from typing import Any

LIMIT_SECONDS = 120
BODY = "A mail through the image."


def main() -> None:
    service = subprocess.Popen(["postroom", "serve"], stdout=sys.stderr)
    try:
        wait_until("every part answers", lambda: not run("postroom", "status").returncode)
        account = create_account(run("postroom", "keys", "create", "--organization", "demo").stdout.strip())
        send(account["account"]["address"])
        wait_until("the mail is there", lambda: BODY in read(account["account"]["address"], account["password"]))
    finally:
        service.terminate()
        status = service.wait(LIMIT_SECONDS)
    assert status == 0, f"postroom serve has ended with {status}"
    print("The image starts, a mail has gone through it, and it stops.")


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True)


def create_account(key: str) -> Any:
    """The answer of `POST /v2/email-accounts/create`."""
    body = {"domain": "demo.test", "local_part": "try", "user_id": "user_1"}
    client = http.client.HTTPConnection("127.0.0.1", 3000, timeout=LIMIT_SECONDS)
    headers = {"x-api-key": key, "content-type": "application/json"}
    client.request("POST", "/v2/email-accounts/create", json.dumps(body), headers)
    answer = client.getresponse()
    assert answer.status == 201, answer.read()
    return json.load(answer)


def send(address: str) -> None:
    with smtplib.SMTP("127.0.0.1", 25) as client:
        client.sendmail("someone@elsewhere.example", address, f"Subject: try\r\n\r\n{BODY}\r\n")


def read(address: str, password: str) -> str:
    """All mail of the INBOX. The certificate is the image's own, so nobody has signed it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with imaplib.IMAP4_SSL("127.0.0.1", 993, ssl_context=context) as client:
        client.login(address, password)
        client.select()
        return str(client.fetch("1:*", "(BODY[TEXT])"))


def wait_until(what: str, is_so: Any) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"waited {LIMIT_SECONDS} s until {what}"
        time.sleep(0.5)


main()
