"""The ports of an instance: the list of them, whether they are free, and the API's listening
socket.

The supervisor keeps the API's socket open. A connection that arrives while the API restarts waits
instead of being refused.
"""

import errno
import os
import socket
from collections.abc import Iterator

from postroom.instance.data_directory import CannotStart
from postroom.mailplane.render import OwnNode, node_addresses
from postroom.settings import Settings, variable

BACKLOG = 2048
NODE_PORTS = 4
DOVECOT = ("imap_port", "imaps_port", "pop3_port", "pop3s_port", "sieve_port")
POSTFIX = ("smtp_port", "submission_port", "submissions_port")


def mail_ports(settings: Settings, with_postfix: bool) -> Iterator[tuple[str, str, int]]:
    """Yields each mail listener as (setting, address, port)."""
    for name in (*DOVECOT, *POSTFIX) if with_postfix else DOVECOT:
        for address in settings.listen_addresses:
            yield name, address, getattr(settings, name)


def node_ports(settings: Settings, node: OwnNode) -> Iterator[tuple[str, str, int]]:
    """Yields each listener for the other nodes as (setting, address, port)."""
    for port in range(node.port, node.port + NODE_PORTS):
        for address in node_addresses(settings, node):
            yield "node", address, port


def check_free(listeners: Iterator[tuple[str, str, int]]) -> None:
    """Binds every port and closes it again. Raises CannotStart."""
    for setting, address, port in listeners:
        _bind(setting, "mail_host", address, port).close()


def listen(settings: Settings) -> socket.socket:
    """Returns the API's listening socket. Raises CannotStart."""
    return _bind("port", "host", settings.host, settings.port)


def _bind(port_setting: str, host_setting: str, address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listener.family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotStart(_explain(error, variable(port_setting), variable(host_setting), address, port)) from None
    return listener


def _explain(error: OSError, port_setting: str, host_setting: str, address: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"Port {port} on {address} is taken: choose another with {port_setting}."
        case errno.EACCES:
            return f"Port {port} needs root: choose one above 1023 with {port_setting}."
        case errno.EADDRNOTAVAIL:
            return f"{address} is not an address of this machine: see {host_setting}."
    return f"Port {port} on {address} ({port_setting}): {os.strerror(error.errno or 0)}."
