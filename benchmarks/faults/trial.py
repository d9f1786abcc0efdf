"""
One trial: one fault, one tracker, both in fresh processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, get_args

sys.path.append(str(Path(__file__).parent.parent))

import processes
from board import Board
from environments import Peer
from faults import Fault

HERE = Path(__file__).parent
# The pace of clients/course.py.
EVENTS_PER_SECOND = 1000
# From the start of the interpreter to the first event, on a machine that has other things to do.
START_SECONDS = 30.0
LOOK_SECONDS = 0.01

# What a client was doing when its time was over.
Blocked = Literal["", "ending", "closing", "tracking"]
BLOCKED = get_args(Blocked)
SEEN = ("unacknowledged", "requests", "connections")
ADDED_UP = ("events", "tracked", "raised", "poisoned", "lost", "duplicated", *SEEN)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """
    What became of the events of one client.
    """

    fault: str
    peer: str
    seed: int
    # Events that the program has, and how many of them it handed to the tracker.
    events: int
    tracked: int
    # Calls of the tracker that raised.
    raised: int
    # Of those tracked: how many the collector will never take, and how many others it does not have.
    poisoned: int
    lost: int
    duplicated: int
    # Events in requests that were processed and not answered: what may be sent again.
    unacknowledged: int
    requests: int
    connections: int
    # How many events were not delivered, as the shutdown call says; None: it says nothing.
    told: int | None
    # From the last event or the signal to the end of the shutdown call, or of the program without one.
    close_seconds: float | None
    # While tracking: the longest time for which nothing else ran on the event loop.
    worst_stall_ms: float
    blocked: Blocked
    versions: dict[str, str]

    @classmethod
    def added_up(cls, trials: Sequence[Trial]) -> Trial:
        """
        Return *trials* of one client as one: numbers are added up, of times the worst counts.
        """
        added = {name: sum(getattr(trial, name) for trial in trials) for name in ADDED_UP}
        told = [trial.told for trial in trials if trial.told is not None]
        closed = [trial.close_seconds for trial in trials if trial.close_seconds is not None]
        return replace(
            trials[0],
            **added,
            told=sum(told) if told else None,
            close_seconds=max(closed) if len(closed) == len(trials) else None,
            worst_stall_ms=max(trial.worst_stall_ms for trial in trials),
            blocked=max((trial.blocked for trial in trials), key=BLOCKED.index),
        )


class Watch:
    """
    Follows one client through its board until it ends, or until its time is over.
    """

    def __init__(
        self, client: subprocess.Popen[bytes], board: Board, fault: Fault, events: int, seed: int
    ) -> None:
        self.client = client
        self.board = board
        self.fault = fault
        self.events = events
        self.planned_ns = int(events / EVENTS_PER_SECOND * 1e9)
        # Not in step with anybody's batches.
        self.signal_ns = int(self.planned_ns * random.Random(seed).uniform(0.4, 0.6))
        self.terminated_ns = 0
        self.was_killed = False
        self.ended_ns = 0

    def start(self) -> None:
        """
        Wait for the first event.
        """
        deadline = time.monotonic() + START_SECONDS
        while not self.board["started_ns"] and self.client.poll() is None:
            if time.monotonic() > deadline:
                message = f"the client did not start within {START_SECONDS:.0f} s"
                raise processes.ClientError(message)
            time.sleep(LOOK_SECONDS)

    def follow(self, patience: float) -> None:
        """
        Wait for the end of the client, at most *patience* seconds after its last event was due or tracked.
        """
        while self.client.poll() is None:
            now = time.monotonic_ns()
            if self.fault.is_stopped and not self.terminated_ns and now > self.started_ns + self.signal_ns:
                self.client.terminate()
                self.terminated_ns = now
            due = self.board["tracking_ended_ns"] or self.started_ns + self.planned_ns
            if now > due + patience * 1e9:
                self.client.kill()
                self.was_killed = True
                break
            time.sleep(LOOK_SECONDS)
        self.ended_ns = time.monotonic_ns()
        self.client.wait()

    @property
    def started_ns(self) -> int:
        return self.board["started_ns"]

    @property
    def blocked(self) -> Blocked:
        if not self.was_killed:
            return ""
        if not self.board["tracking_ended_ns"]:
            return "tracking"
        return "ending" if self.board["closed_ns"] or self.fault.ending == "return" else "closing"

    @property
    def close_seconds(self) -> float | None:
        if self.blocked:
            return None
        begin = self.board["tracking_ended_ns"] or self.terminated_ns
        return ((self.board["closed_ns"] or self.ended_ns) - begin) / 1e9

    @property
    def worst_stall_ms(self) -> float:
        """
        The worst stall; one that lasted until the client was killed counts as well.
        """
        worst = self.board["worst_stall_ns"]
        if self.blocked == "tracking":
            worst = max(worst, self.ended_ns - self.board["last_tick_ns"])
        return worst / 1e6

    @property
    def was_as_planned(self) -> bool:
        return self.was_killed or self.client.returncode in {0, -signal.SIGTERM}


def run_trial(fault: Fault, peer: Peer, *, events: int, seed: int, patience: float) -> Trial:
    """
    Run *peer* into *fault* once.

    Raises ClientError when the client fails for a reason of its own.
    """
    with (
        tempfile.TemporaryDirectory() as directory,
        running_collector(fault, seed) as collector,
        (Path(directory) / "stdout").open("w+b") as output,
        # A file, as a service's log would be: clients as shipped write to it.
        (Path(directory) / "stderr").open("w+b") as errors,
    ):
        path = Path(directory) / "board"
        path.touch()
        parameters = peer.parameters | {
            "events": events,
            "port": collector.port,
            "board": str(path),
            "ending": fault.ending,
            "poison": fault.poison,
            "poison_every": fault.poison_every,
        }
        board = Board(path)
        with running_client(peer, parameters, output, errors) as client:
            watch = Watch(client, board, fault, events, seed)
            watch.start()
            collector.tell("begin")
            watch.follow(patience)
        if not watch.was_as_planned:
            tail = read(errors)[-2000:]
            message = f"{peer.name} ended with {client.returncode}:\n{tail}"
            raise processes.ClientError(message)
        return as_trial(peer, seed, watch, collector.ask("report"), json.loads(read(output)))


def as_trial(peer: Peer, seed: int, watch: Watch, counts: dict[str, int], versions: dict[str, str]) -> Trial:
    """
    Return what board and collector tell together.
    """
    board, fault = watch.board, watch.fault
    poisoned = fault.poisoned(board["tracked"])
    return Trial(
        fault=fault.name,
        peer=peer.name,
        seed=seed,
        events=watch.events,
        tracked=board["tracked"],
        raised=board["raised"],
        poisoned=poisoned,
        lost=board["tracked"] - poisoned - counts["arrived"],
        duplicated=counts["duplicated"],
        **{name: counts[name] for name in SEEN},
        told=board["told"] - 1 if board["told"] else None,
        close_seconds=watch.close_seconds,
        worst_stall_ms=watch.worst_stall_ms,
        blocked=watch.blocked,
        versions=versions,
    )


def read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


@contextlib.contextmanager
def running_client(
    peer: Peer, parameters: dict[str, Any], output: IO[bytes], errors: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """
    Start a client; it does not outlive the block.
    """
    env = processes.environment(peer.script)
    own = [env["PYTHONPATH"]] if "PYTHONPATH" in env else []
    env["PYTHONPATH"] = os.pathsep.join([*own, str(HERE), str(HERE.parent / "clients")])
    command = [str(peer.python()), str(HERE / "clients" / peer.script), json.dumps(parameters)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=env) as client:
        try:
            yield client
        finally:
            client.kill()


@dataclass(frozen=True, slots=True)
class RunningCollector:
    """
    The collector's process, seen through its standard input and output.
    """

    process: subprocess.Popen[bytes]
    port: int

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, command: str) -> dict[str, int]:
        assert self.process.stdout is not None
        self.tell(command)
        answer: dict[str, int] = json.loads(self.process.stdout.readline())
        return answer


@contextlib.contextmanager
def running_collector(fault: Fault, seed: int) -> Iterator[RunningCollector]:
    """
    Start a collector with *fault*; it ends with the block.
    """
    given = json.dumps({"fault": fault.name, "seed": seed})
    command = [sys.executable, str(HERE / "collector.py"), given]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # Closed on the way out, which ends the collector.
        with process.stdin:
            yield RunningCollector(process, json.loads(process.stdout.readline())["port"])
