"""Ports of this machine for the servers of tests."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager

HOST = "127.0.0.1"


def free_port() -> int:
    """Return a port that is free now; any process may take it, so whoever uses it must be ready for that."""
    with bound_socket() as bound:
        port: int = bound.getsockname()[1]
        return port


def bound_socket() -> socket.socket:
    """Bind a socket to a free port: a server may listen there as well, and nobody's connection gets it."""
    bound = socket.socket()
    # Servers say so too. As long as this one does not listen, they may have the port besides it.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((HOST, 0))
    return bound


@contextmanager
def held_port() -> Generator[int, None, None]:
    """Keep a port for a server, before it starts, between two starts and after its end."""
    with bound_socket() as held:
        yield held.getsockname()[1]
