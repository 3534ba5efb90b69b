"""`postroom console-link`, and the link that the first start prints."""

import re

import pytest

from tests.service import Service


def test_it_works() -> None:
    with Service.new(mail="off") as service:
        service.start()
        printed = re.findall(r"http://\S+/sign-in#link=([0-9a-f]{64})", service.said())
        made = service.run("console-link", "--organization", "demo")
        assert made.returncode == 0, made.stderr
        link = re.fullmatch(
            rf"http://127\.0\.0\.1:{service.ports['port']}/sign-in#link=([0-9a-f]{{64}})\n", made.stdout
        )
        assert link
        assert len(printed) == 1
        assert link[1] != printed[0]


@pytest.mark.parametrize(
    "arguments", [["--organization", "nobody"], ["--organization", "cli", "--key", "99"], ["--organization", "cli"]]
)
def test_it_refuses(arguments: list[str]) -> None:
    with Service.new() as service:
        service.run("domains", "create", "x.test", "--organization", "cli")
        refused = service.run("console-link", *arguments)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith("postroom: ")
