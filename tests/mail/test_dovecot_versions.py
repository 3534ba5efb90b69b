"""The installed version of Dovecot decides which configuration is written, and unknown versions are
refused. All other files in this folder test the real daemons, on Debian 12 and on Debian 13."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from postroom.mailplane import daemons
from tests.mail.test_configuration import POSTGRES, ROOT, render


def test_the_versions_of_dovecot_differ_in_its_own_files_only() -> None:
    of_the_old = {"dovecot/scripts.conf.ext", "dovecot/folders.acl"}
    for plane in (ROOT, POSTGRES):
        old, new = render(plane), render(replace(plane, dovecot="2.4"))
        assert set(new) - set(old) == {"dovecot/none.sieve"}
        assert set(old) - set(new) == of_the_old <= set(daemons.OBSOLETE)
        of_both = {"dovecot/dovecot.conf", "dovecot/auth.lua", "dovecot/refused.lua"}
        assert {path for path in old if new.get(path) != old[path]} == of_both | of_the_old


@pytest.fixture
def another_dovecot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    program = tmp_path / "dovecot"
    program.touch(0o755)
    monkeypatch.setattr(daemons, "DOVECOT", str(program))
    daemons.dovecot_version.cache_clear()
    yield program
    daemons.dovecot_version.cache_clear()


@pytest.mark.parametrize(("told", "version"), [("2.3.19.1 (9b53102964)", "2.3"), ("2.4.1-4 (7d8c0e5759)", "2.4")])
def test_the_installed_dovecot_decides(another_dovecot: Path, told: str, version: str) -> None:
    another_dovecot.write_text(f"#!/bin/sh\necho '{told}'\n")
    assert daemons.dovecot_version() == version


@pytest.mark.parametrize("told", ["2.5.0 (abc)", "3.0.0", ""])
def test_a_dovecot_that_is_not_known_is_refused(another_dovecot: Path, told: str) -> None:
    another_dovecot.write_text(f"#!/bin/sh\necho '{told}'\n")
    with pytest.raises(daemons.Unusable, match=r"Postroom knows 2\.3 \(Debian 12\) and 2\.4 \(Debian 13\)\."):
        daemons.dovecot_version()
