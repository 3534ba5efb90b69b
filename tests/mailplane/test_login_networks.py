"""The network of a client's address is the same text in Python and in Dovecot's script (decision
0266)."""

import ctypes
import ctypes.util

import pytest

from postroom.accounts.login_networks import network_of
from postroom.mailplane import render
from postroom.mailplane.render import Plane
from postroom.settings import load

# As Dovecot writes the address of a client (RFC 5952), and its network.
NETWORKS = {
    "192.0.2.1": "192.0.2.1",
    "::": ":0:0:0::/64",
    "::1": ":0:0:0::/64",
    "::a:b:c:d": ":0:0:0::/64",
    "::3:a:b:c:d": ":0:0:3::/64",
    "2001:db8::": "2001:db8:0:0::/64",
    "2001:db8::5": "2001:db8:0:0::/64",
    "2001:db8::1:0:0:1": "2001:db8:0:0::/64",
    "2001:db8:0:0:1::": "2001:db8:0:0::/64",
    "2001:db8::7:1:0:0:1": "2001:db8:0:7::/64",
    "2001:db8:1:2::": "2001:db8:1:2::/64",
    "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
    "2001:db8:1:2::3": "2001:db8:1:2::/64",
    "2001:db8:1:2:0:3::": "2001:db8:1:2::/64",
    "2001:0:1:0:a:b:c:d": "2001:0:1:0::/64",
    "fe80::1": "fe80:0:0:0::/64",
}


def in_lua(address: str) -> str:
    """What the script computes, with the interpreter's library that Dovecot uses."""
    plane = Plane("x", "x", root=True, python="/x", doveadm_key="x")
    script = render.configuration(load({"POSTROOM_DATA": "/x"}), plane)["dovecot/auth.lua"].text
    begin, end = script.index("local function network("), script.index("function auth_passdb_lookup(")
    lua = ctypes.CDLL(ctypes.util.find_library("lua5.4") or ctypes.util.find_library("lua5.3"))
    lua.luaL_newstate.restype = lua.lua_tolstring.restype = ctypes.c_void_p
    state = ctypes.c_void_p(lua.luaL_newstate())
    lua.luaL_openlibs(state)
    assert lua.luaL_loadstring(state, f"{script[begin:end]}\nreturn network('{address}')".encode()) == 0
    assert lua.lua_pcallk(state, 0, 1, 0, 0, None) == 0
    found = ctypes.string_at(lua.lua_tolstring(state, -1, None)).decode()
    lua.lua_close(state)
    return found


@pytest.mark.parametrize("address", NETWORKS)
def test_it_works(address: str) -> None:
    assert network_of(address) == in_lua(address) == NETWORKS[address]


def test_what_is_no_address() -> None:
    assert [network_of(text) for text in ("", "x", "1.2.3", "192.0.2.0/24")] == [None] * 4
    assert in_lua("") == ""
