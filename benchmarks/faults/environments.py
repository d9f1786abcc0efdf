"""
Which interpreter runs a client: each peer has an environment of its own.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent))

import peers

OFFICIAL = "snowplow-tracker==1.1.0"
AIO = "aio-snowplow-tracker==1.0.2"


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """
    A tracker under test: what is installed for it, and the script that drives it and what that is told.
    """

    name: str
    title: str
    script: str
    # Empty for the library itself, which the interpreter of the harness runs from the working tree.
    requirement: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)

    def python(self) -> Path:
        """
        Return the interpreter, whose environment is made on the first call.
        """
        if not self.requirement:
            return Path(sys.executable)
        name = self.requirement.partition("=")[0]
        return peers.environment(name, (self.requirement,), peers.CACHE)


PEERS = (
    Peer(name="ours", title="snowplow-aio", script="ours.py"),
    Peer(
        name="emitter",
        title="snowplow-tracker, Emitter",
        script="official.py",
        requirement=OFFICIAL,
        parameters={"emitter": "Emitter"},
    ),
    Peer(
        name="async_emitter",
        title="snowplow-tracker, AsyncEmitter",
        script="official.py",
        requirement=OFFICIAL,
        parameters={"emitter": "AsyncEmitter"},
    ),
    Peer(name="aio", title="aio-snowplow-tracker", script="aio.py", requirement=AIO),
)
