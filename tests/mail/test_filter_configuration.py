"""The generated configuration with a filter, as text. test_filter.py has a real one."""

import re
from dataclasses import replace

import pytest

from postroom.mailplane import daemons
from postroom.mailplane.render import OwnNode, Plane
from tests.mail.test_configuration import BOTH, DATA, ROOT, main_cf, render

NODE = replace(ROOT, node=OwnNode(1, "a.node.internal", 4000, "", "", "", "s", "127.0.0.1", ("127.0.0.1",)))


@pytest.mark.parametrize("plane", [ROOT, NODE], ids=["alone", "node"])
def test_the_filter_is_second_on_port_25_and_nowhere_else(plane: Plane) -> None:
    """Only the filter may be away. Mail from another node is neither filtered again nor loses its
    fields."""
    with_filter, without = (render(plane, **values) for values in ({"filter_milter": "unix:/run/filter"}, {}))
    assert {path for path, file in with_filter.items() if file != without[path]} == {"postfix/main.cf"}
    values = main_cf(filter_milter="unix:/run/filter")
    ours, theirs = re.findall(r"\{ (.*?) \}", values["inbound_milters"])
    assert ours.startswith(f"unix:{DATA}/milter/socket/inbound, ")
    assert theirs.startswith("unix:/run/filter, default_action=accept, ")
    assert {name: value for name, value in values.items() if name != "inbound_milters"} == {
        name: value for name, value in main_cf().items() if name != "inbound_milters"
    }


def test_from_another_node_nothing_is_filtered_or_removed() -> None:
    text = render(NODE, filter_milter="unix:/run/filter")["postfix/master.cf"].text
    listener = text.partition("127.0.0.1:4000 inet")[2].partition("\nnodes ")[0]
    assert "cleanup_service_name=node-cleanup" in listener
    assert not re.search("milters|header_checks|receive_override_options", listener)
    assert main_cf()["receive_override_options"] == "no_header_body_checks"


@BOTH
def test_without_a_program_that_learns_dovecot_loads_nothing(version: str) -> None:
    plane = replace(ROOT, dovecot=version)
    off, on = render(plane), render(plane, filter_learn="/usr/bin/learn")
    assert on.keys() - off.keys() == {"dovecot/learn", "dovecot/learn-spam.sieve", "dovecot/learn-ham.sieve"}
    assert on.keys() - off.keys() <= set(daemons.OBSOLETE)
    assert not re.search("imap_?sieve|extprograms|pipe", off["dovecot/dovecot.conf"].text)
