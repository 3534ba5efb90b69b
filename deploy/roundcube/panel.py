"""The part of a platform's panel that opens a customer's mailbox in Roundcube: one button. Python's
own web server, and Postroom's client.

    POSTROOM_URL=… POSTROOM_API_KEY=… python panel.py ACCOUNT_ID WEBMAIL_URL PORT

The key has the scopes accounts:read and credentials:write. A real panel knows the customer by its
own session and takes the account from it.
"""

import html
import secrets
import sys
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from postroom.client import Client

NAME = "webmail"
# Roundcube logs in to IMAP with each request, so it reads as long as its app password lives
# (decision 0271).
LIFE = timedelta(hours=8)
# Browsers in which a customer has the webmail open at a time.
MOST = 5
NETWORKS = ["127.0.0.1"]  # where Roundcube runs: from any other address the app password is a wrong one
BUTTON = '<form method="post" action="/open"><button>Open my mail</button></form>'
FORM = """<form method="post" action="{url}/?_task=login">
<input type="hidden" name="_task" value="login"><input type="hidden" name="_action" value="login">
<input type="hidden" name="_user" value="{user}"><input type="hidden" name="_pass" value="{password}">
<noscript><button>Open my mail</button></noscript></form>
<script nonce="{nonce}">document.forms[0].submit()</script>"""


def app_password(account_id: int) -> tuple[str, str]:
    """A new app password for one browser. Returns the address and the password."""
    with Client() as client:
        found = [one for one in client.list_app_passwords(account_id) if one.name == NAME]
        for old in found[: max(0, len(found) - MOST + 1)]:
            client.delete_app_password(account_id, old.id)
        until = datetime.now(UTC) + LIFE
        made = client.create_app_password(account_id, NAME, ["imap", "smtp"], networks=NETWORKS, expires_at=until)
        return client.get_account(account_id).address, made.password


class Panel(BaseHTTPRequestHandler):
    account_id: int
    webmail: str

    def do_GET(self) -> None:
        self.show(BUTTON)

    def do_POST(self) -> None:
        """Where a real panel checks its own session and its own CSRF token."""
        nonce, (user, password) = secrets.token_urlsafe(16), app_password(self.account_id)
        values = {"url": self.webmail, "user": user, "password": password, "nonce": nonce}
        self.show(FORM.format(**{name: html.escape(value) for name, value in values.items()}), nonce)

    def show(self, content: str, nonce: str = "") -> None:
        page = f"<!doctype html><title>Panel</title>{content}".encode()
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-length", str(len(page)))
        self.send_header("cache-control", "no-store")
        self.send_header("referrer-policy", "strict-origin")  # Roundcube compares the Origin
        self.send_header("content-security-policy", f"default-src 'none'; script-src 'nonce-{nonce}'")
        self.end_headers()
        self.wfile.write(page)


def main() -> None:
    Panel.account_id, Panel.webmail = int(sys.argv[1]), sys.argv[2].rstrip("/")
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[3])), Panel).serve_forever()


if __name__ == "__main__":
    main()
