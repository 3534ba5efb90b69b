"""No test that sees the mail daemons is left out on Debian 13."""

import pytest

from tests.harness.daemons import ALIKE, SEE_DAEMONS, TESTS
from tests.harness.service import Service


def test_another_test_cannot_start_them() -> None:
    """This file is such a test."""
    with Service.new() as service, pytest.raises(AssertionError, match=r"test_daemons\.py starts mail daemons"):
        service.launch()


def test_each_name_is_there() -> None:
    assert [name for name in SEE_DAEMONS + ALIKE if not (TESTS / name).exists()] == []
