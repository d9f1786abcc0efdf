"""What speaks Redis' protocol: servers, and what stands for one in the tests of users."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

from tests.neighbours.neighbour import Neighbour
from tests.redis.servers import server_programs


@dataclass(frozen=True, kw_only=True)
class Speaking(Neighbour):
    """
    A server.

    Attributes:
        named: Its name among the servers of this machine.
    """

    named: str

    @property
    def is_here(self) -> bool:
        """Whether there is such a server; none of Python's packages has all of them."""
        return self.named in server_programs()

    @property
    def program(self) -> str:
        """Its path."""
        return server_programs()[self.named]

    @property
    def version(self) -> str:
        """What it says of itself."""
        said = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=True).stdout
        found = re.search(r"\bv=([\d.]+)", said)
        assert found is not None, said
        return found[1]


SERVERS = {
    "Redis 6.2": Speaking(named="redis 6.2"),
    # Debian's.
    "Redis 7": Speaking(named="system"),
    "Redis 8": Speaking(named="redis 8"),
    "Valkey": Speaking(named="valkey"),
}

FAKES = {"fakeredis": Neighbour(packages=("fakeredis",))}
