"""`postroom console-link`, and the link that the first start prints."""

import re

import pytest

from tests.harness.service import Service


def test_it_works() -> None:
    with Service.new(mail="off") as service:
        service.start()
        printed = re.findall(r"^http://\S+/sign-in#link=([\w-]{43})$", service.said(), re.M)
        made = service.run("console-link", "--organization", "demo")
        assert made.returncode == 0, made.stderr
        link = re.fullmatch(rf"http://127\.0\.0\.1:{service.ports['port']}/sign-in#link=([\w-]{{43}})\n", made.stdout)
        assert link
        assert len(printed) == 1
        assert link[1] != printed[0]


@pytest.mark.parametrize(
    "arguments", [["--organization", "nobody"], ["--organization", "cli", "--key", "99"], ["--organization", "cli"]]
)
def test_it_refuses(arguments: list[str]) -> None:
    with Service.new() as service:
        service.run("keys", "create", "--organization", "cli").check_returncode()
        service.run("keys", "revoke", "1", "--organization", "cli").check_returncode()
        refused = service.run("console-link", *arguments)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith("postroom: ")
