"""The recipe of docs/webmail.md, tried by `check`: the customer clicks in the panel and is in the
mailbox, reads, writes, and is out when the app password goes."""

import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from postroom.client import Client
from tests.harness.ports import free_port
from tests.harness.service import Service, wait_for
from tests.mail.platform import Mailbox, Platform

HERE = Path(__file__).parent
PACKAGES = "php-cgi php-cli roundcube-core roundcube-sqlite3"
# In namespaces of mounts and processes: what apt and Roundcube write is in the layer, and all of it
# ends together. The layer is in memory, because it cannot lie on another layer.
LAYER = """
mount -t tmpfs tmpfs $1/layer
mkdir $1/layer/upper $1/layer/work
mount -t overlay overlay -o lowerdir=/,upperdir=$1/layer/upper,workdir=$1/layer/work $1/root
mount -t proc proc $1/root/proc
mount --rbind /dev $1/root/dev
printf '#!/bin/sh\\nexit 101\\n' > $1/root/usr/sbin/policy-rc.d
chmod 755 $1/root/usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive
cp $1/files/* $1/root/root/
chroot $1/root sh -euc "$2"
export PHP_CLI_SERVER_WORKERS=4
chroot --userspec=www-data:www-data $1/root \\
  php -S 127.0.0.1:$3 -t /var/lib/roundcube/public_html
exit
"""
# The commands of docs/webmail.md.
STEPS = f"""
cd /root
apt-get install -q -y --no-install-recommends {PACKAGES}
install -D -m 644 postroom_login.php /var/lib/roundcube/plugins/postroom_login/postroom_login.php
install -m 640 -g www-data config.inc.php /etc/roundcube/config.inc.php
openssl rand -base64 18 > /etc/roundcube/des_key
chown root:www-data /etc/roundcube/des_key
chmod 640 /etc/roundcube/des_key
install -d -m 750 -o www-data -g www-data /var/lib/roundcube/db
"""


def answers(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


@contextmanager
def running(command: list[str], port: int, what: str, **environment: str) -> Iterator[None]:
    """A program, until it is no longer needed."""
    process = subprocess.Popen(command, stdout=sys.stderr, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment})
    try:
        wait_for(what, lambda: answers(port) or process.poll() is not None, 600)
        assert process.poll() is None, f"{what} has ended"
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def roundcube(service: Service, port: int, panel: str) -> Iterator[None]:
    """Roundcube with the files of this folder; the host, the ports and the certificate are those of
    this instance."""
    layer = Path(tempfile.mkdtemp(prefix="postroom-roundcube-", dir="/var/tmp"))
    try:
        for name in ("layer", "root", "files"):
            (layer / name).mkdir()
        text = (HERE / "config.inc.php").read_text(encoding="utf-8")
        for place, name in ((":993", "imaps_port"), (":465", "submissions_port")):
            text = text.replace(f"mail.example.com{place}", f"127.0.0.1:{service.ports[name]}")
        text = text.replace("https://panel.example.com", panel)
        shutil.copy(service.data / "tls" / "cert.pem", layer / "files" / "cert.pem")
        for options in ("imap_conn_options", "smtp_conn_options"):
            ssl = "['cafile' => '/etc/roundcube/cert.pem', 'peer_name' => 'mail.postroom.test']"
            text += f"$config['{options}'] = ['ssl' => {ssl}];\n"
        (layer / "files" / "config.inc.php").write_text(text, encoding="utf-8")
        shutil.copy(HERE / "postroom_login.php", layer / "files")
        steps = f"{STEPS}\ninstall -m 644 cert.pem /etc/roundcube/cert.pem"
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        with running([*apart, "sh", "-euc", LAYER, "sh", str(layer), steps, str(port)], port, "roundcube"):
            yield
    finally:
        shutil.rmtree(layer)


def click(page: Page, panel: str) -> None:
    page.goto(panel)
    page.get_by_role("button", name="Open my mail").click()


def send(page: Page, webmail: str, address: str) -> None:
    # A request that still runs would write the session of the compose page over.
    page.wait_for_load_state("networkidle")
    page.goto(f"{webmail}/?_task=mail&_action=compose&_to={address}")
    page.wait_for_load_state("networkidle")
    page.locator("#compose-subject").fill("sent from the webmail")
    page.locator("#composebody").fill("A line.")
    page.locator("button.send:visible").click()
    expect(page.locator("#messagestack, #messagelist").first).to_contain_text(re.compile("sent", re.IGNORECASE))


def go_through(page: Page, box: Mailbox, webmail: str, panel: str) -> None:
    box.receive("before the click")
    box.wait_for("before the click")
    click(page, panel)
    expect(page.locator("#messagelist")).to_contain_text("before the click")
    print(f"One click, and the browser is at {page.url}: the mail is there.")
    send(page, webmail, box.address)
    box.wait_for("sent from the webmail")
    page.goto(f"{webmail}/?_task=mail")
    expect(page.locator("#messagelist")).to_contain_text("sent from the webmail")
    print("A message was sent and arrived.")
    for one in box.platform.call("GET", f"/v2/email-accounts/{box.id}/app-passwords", None)["app_passwords"]:
        box.platform.call("POST", f"/v2/email-accounts/{box.id}/app-passwords/delete", {"id": one["id"]})
    page.goto(f"{webmail}/?_task=mail&_mbox=Sent")
    expect(page.locator("#messagestack")).to_contain_text("Connection to storage server failed")
    assert "sent from the webmail" not in page.content()
    print("Without the app password Roundcube reads nothing.")


def refuse_others(page: Page, webmail: str, port: int) -> None:
    """The form of another site logs nobody in."""
    click(page, f"http://localhost:{port}")
    expect(page.locator("#login-form, #rcmloginuser").first).to_be_visible()
    assert page.url.startswith(webmail)
    print("The same form from another origin is refused.")


def main() -> None:
    expect.set_options(timeout=60_000)
    with Service.new() as service, sync_playwright() as playwright:
        service.start()
        platform = Platform.new(service)
        box = platform.create("customer")
        web, port = free_port(), free_port()
        webmail, panel = f"http://127.0.0.1:{web}", f"http://127.0.0.1:{port}"
        with Client(f"http://127.0.0.1:{service.ports['port']}", api_key=platform.key) as client:
            key = client.create_key(name="panel", scopes=["accounts:read", "credentials:write"]).api_key
        command = [sys.executable, str(HERE / "panel.py"), str(box.id), webmail, str(port)]
        variables = {"POSTROOM_URL": f"http://127.0.0.1:{service.ports['port']}", "POSTROOM_API_KEY": key}
        with roundcube(service, web, panel), running(command, port, "the panel", **variables):
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium-headless-shell", args=["--no-sandbox"]
            )
            page, other = (browser.new_context().new_page() for _ in range(2))
            page.set_default_timeout(120_000)
            go_through(page, box, webmail, panel)
            refuse_others(other, webmail, port)
            browser.close()
    print("The recipe works.")


if __name__ == "__main__":
    main()
