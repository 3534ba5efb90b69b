"""The settings file: `postroom` and `./start` look for it in the same places, and refuse a file
that another user could have written."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from postroom import settings, settings_file
from postroom.settings import BadSettings, load
from postroom.settings_file import FILE
from tests.harness.service import Service

ROOT = Path(__file__).resolve().parent.parent
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
PLACES = ("named", "checkout", "etc", "here")

PYTHON = "import os\nfrom postroom.settings_file import find\nprint(find(os.environ) or '')"
SHELL = """. "$here/scripts/install.sh" && settings_file"""
# Runs both with an /etc/postroom that only this process sees.
INSIDE = """
set -eu
mount -t tmpfs none "$2" && mount --bind "$2" /etc/postroom && mkdir "$2/x"
[ "$1" = 0 ] || touch /etc/postroom/postroom.toml
cd "$3"; here=$4
"$5" -c "$6"
cd "$3"
sh -c 'here=$1; eval "$2"' sh "$here" "$7"
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with the files that decide, and two directories beside it."""
    for name in ("postroom/__init__.py", "postroom/settings_file.py", "scripts/install.sh", "pyproject.toml"):
        (tmp_path / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "checkout" / name)
    for folder in ("here", "etc"):
        (tmp_path / folder).mkdir()
    Path("/etc/postroom").mkdir(exist_ok=True)
    return tmp_path


@AS_ROOT
@pytest.mark.parametrize("there", [c for n in range(5) for c in itertools.combinations(PLACES, n)], ids=str)
def test_one_rule_in_python_and_in_the_shell(tree: Path, there: tuple[str, ...]) -> None:
    """For every combination of existing files, Python and the shell choose the same file, and never
    the one in the current directory."""
    paths = {"named": tree / "named.toml", "checkout": tree / "checkout" / FILE, "here": tree / "here" / FILE}
    for place in there:
        if place in paths:
            paths[place].touch()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tree / "checkout"), "TMPDIR": str(tree)}
    if "named" in there:
        environment["POSTROOM_SETTINGS"] = str(paths["named"])
    etc = str(int("etc" in there))
    values = [etc, tree / "etc", tree / "here", tree / "checkout", sys.executable, PYTHON, SHELL]
    command = ["unshare", "-m", "sh", "-c", INSIDE, "sh", *map(str, values)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    order = [("named", paths["named"]), ("checkout", paths["checkout"]), ("etc", settings_file.SYSTEM)]
    expected = next((str(path) for place, path in order if place in there), "")
    python, _, shell = done.stdout.partition("\n")
    assert (python, shell.strip()) == (expected, expected)


def test_the_current_directory_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FILE).write_text('hostname = "mail.attacker.test"\nno_such_setting = 1\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settings_file, "checkout", lambda: None)
    monkeypatch.setattr(settings_file, "SYSTEM", tmp_path / "nothing" / FILE)
    assert load({}).hostname == "mail.postroom.test"


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.toml", tmp_path):
        with pytest.raises(BadSettings, match="POSTROOM_SETTINGS"):
            load({"POSTROOM_SETTINGS": str(path)})
    (tmp_path / "mine.toml").write_text("port = 3005\n")
    assert load({"POSTROOM_SETTINGS": str(tmp_path / "mine.toml")}).port == 3005


def test_the_checkout_of_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """scripts/install.sh copies Postroom if other users cannot read the checkout, and records the
    path of the checkout."""
    monkeypatch.setattr(settings_file, "__file__", str(tmp_path / "lib" / "postroom" / "settings_file.py"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert settings_file.checkout() is None
    for stamp, expected in (
        ("copy /root/postroom\nhash\n", Path("/root/postroom")),
        ("editable /srv/postroom\nhash\n", None),
        ("copy relative\n", None),
        ("", None),
        ("\n", None),
    ):
        (tmp_path / settings_file.STAMP).write_text(stamp)
        assert settings_file.checkout() == expected, stamp
    assert 'echo "$mode $here"' in (ROOT / "scripts" / "install.sh").read_text()


@AS_ROOT
@pytest.mark.parametrize(
    ("mode", "owner", "folder_mode", "folder_owner", "is_refused"),
    [
        (0o600, 0, 0o755, 0, False),
        (0o640, 0, 0o755, 0, False),
        (0o644, 0, 0o755, 0, False),
        (0o644, 0, 0o1777, 0, False),
        (0o664, 0, 0o755, 0, True),
        (0o646, 0, 0o755, 0, True),
        (0o600, 65534, 0o755, 0, True),
        (0o400, 65534, 0o755, 0, True),
        (0o600, 0, 0o777, 0, True),
        (0o600, 0, 0o775, 0, True),
        (0o600, 0, 0o755, 65534, True),
        (0o600, 0, 0o1777, 65534, True),
    ],
)
@pytest.mark.parametrize("way", ["itself", "link"])
def test_root_refuses_what_another_user_could_write(
    tmp_path: Path, way: str, mode: int, owner: int, folder_mode: int, folder_owner: int, is_refused: bool
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / FILE
    path.write_text("port = 3005\n")
    path.chmod(mode)
    os.chown(path, owner, owner)
    folder.chmod(folder_mode)
    os.chown(folder, folder_owner, folder_owner)
    named = path
    if way == "link":
        named = tmp_path / "link.toml"
        named.symlink_to(path)
    if is_refused:
        with pytest.raises(BadSettings, match="another user") as refused:
            load({"POSTROOM_SETTINGS": str(named)})
        assert "\n" not in str(refused.value)
    else:
        assert load({"POSTROOM_SETTINGS": str(named)}).port == 3005


@AS_ROOT
@pytest.mark.parametrize(
    "target",
    ["theirs/link", "theirs/chain", "theirs/../ours/file", "theirs/up/ours/file", "through", "shared/link"],
)
def test_root_follows_no_link_of_another_user(tmp_path: Path, target: str) -> None:
    """The file, its folder and the named link belong to root; a link or folder between them belongs
    to another user."""
    ours, theirs, shared = tmp_path / "ours", tmp_path / "theirs", tmp_path / "shared"
    for folder, mode in ((ours, 0o755), (theirs, 0o755), (shared, 0o1777)):
        folder.mkdir()
        folder.chmod(mode)
    (ours / "file").write_text("port = 3005\n")
    links = {theirs / "link": ours / "file", theirs / "chain": theirs / "link", theirs / "up": tmp_path}
    links |= {shared / "link": ours / "file", tmp_path / "through": theirs / "link"}
    for link, there in links.items():
        link.symlink_to(there)
    os.chown(theirs, 65534, 65534)
    os.chown(shared / "link", 65534, 65534, follow_symlinks=False)
    named = tmp_path / "named.toml"
    named.symlink_to(target)
    with pytest.raises(BadSettings, match="another user"):
        load({"POSTROOM_SETTINGS": str(named)})
    named.unlink()
    named.symlink_to(ours / "file")
    assert load({"POSTROOM_SETTINGS": str(named)}).port == 3005


SECRETS = [
    ('database_url = "postgresql://postroom:hush@db/postroom"', True),
    ('database_url = "postgresql://postroom@db/postroom?password=hush"', True),
    ('database_url = "postgresql://postroom@db/postroom?sslpassword=hush"', True),
    ('mail_database_url = "postgresql://postroom_mail:hush@db/postroom"', True),
    ('database_url = "postgresql://postroom@db/postroom"', False),
    ('database_url = "sqlite:////srv/postroom.db"', False),
    ('relayhost = "relay.example.com:25"', False),
    ('relayhost = "a.example"\nrelay_user = "u"\nrelay_password = "hush"', True),
    ('relayhost = "a.example"\nrelay_user = "u"\nrelay_password_file = "/run/secret"', False),
    ("port = 3005", False),
]


@pytest.mark.parametrize(("text", "is_secret"), SECRETS)
@pytest.mark.parametrize(
    ("mode", "group", "is_open"),
    [
        (0o600, 0, False),
        (0o400, 0, False),
        (0o640, 0, False),
        (0o640, 4242, False),
        (0o640, 4243, True),
        (0o644, 0, True),
        (0o604, 0, True),
        (0o601, 0, True),
    ],
)
@AS_ROOT
def test_a_password_that_others_can_read(
    tmp_path: Path, text: str, is_secret: bool, mode: int, group: int, is_open: bool
) -> None:
    """`start` and `doctor` warn of it. 4242 is the group of the system user here."""
    path = tmp_path / FILE
    path.write_text(text + "\n")
    path.chmod(mode)
    os.chown(path, 0, group)
    said = settings.open_secrets(4242, {"POSTROOM_SETTINGS": str(path)})
    assert (said is not None) == (is_secret and is_open)
    assert "hush" not in (said or "")


@AS_ROOT
def test_start_and_doctor_say_so() -> None:
    with Service.new(mail="off") as service:
        path = service.data.parent / "mine.toml"
        path.write_text('mail_database_url = "postgresql://postroom_mail:hush@db/postroom"\n')
        service.variables["POSTROOM_SETTINGS"] = str(path)
        sentence = f"{path} has a password in it and is open to all users: mode 644."
        for mode, is_open in ((0o644, True), (0o600, False)):
            path.chmod(mode)
            service.start()
            assert (f"! {sentence}" in service.said()) is is_open
            assert service.stop() == 0
            found = json.loads(service.run("doctor", "--json").stdout)
            (diagnosis,) = [one for one in found if one["subject"] == "settings"]
            assert (diagnosis["level"], diagnosis["text"] == sentence) == ("error" if is_open else "ok", is_open)
            assert diagnosis["next"] == (f"chmod 600 {path}" if is_open else "")
            assert "hush" not in service.said()
