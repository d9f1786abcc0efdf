"""
Does a change slow the hot path down? ``python benchmarks/compare.py BASE [HEAD]``.

Both commits (HEAD: the working tree, unless named) are laid out in a temporary
folder, with ``--compiled`` as pip installs them with a C compiler. `track`
with a store in memory is measured in fresh processes, in turns: instructions
per event where `perf` counts them, else CPU time per event against a
calibration loop. The exit code is 0 within the limit, 1 when HEAD is slower by
more, and 2 when the machine was too noisy to tell.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import processes

ROOT = Path(__file__).parent.parent
CHUNKS, EVENTS = 15, 1_000
RESAMPLES = 2_000
# With fewer, a median and its interval mean nothing.
MIN_PAIRS = 10
# Instructions hardly differ from run to run.
COUNTED_PAIRS = 3
# What a process may take.
TIMEOUT = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """
    By how much HEAD is slower, as a share of BASE's cost; negative when it is faster.

    With 95 % certainty the truth lies between *low* and *high*.
    """

    estimate: float
    low: float
    high: float

    def is_clear(self, limit: float) -> bool:
        """Whether the truth lies on one side of *limit*."""
        return self.low > limit or self.high <= limit


def change(ratios: Sequence[float], seed: int = 0) -> Change:
    """
    Return what the *ratios* of cost, HEAD to BASE, one of each pair, say together.

    The interval is a bootstrap's: the medians of many draws from the pairs.
    """
    logs, draw = [math.log(one) for one in ratios], random.Random(seed)
    medians = sorted(statistics.median(draw.choices(logs, k=len(logs))) for _ in range(RESAMPLES))
    low, high = medians[int(RESAMPLES * 0.025)], medians[int(RESAMPLES * 0.975)]
    return Change(estimate=math.expm1(statistics.median(logs)), low=math.expm1(low), high=math.expm1(high))


def judge(found: Change, limit: float) -> tuple[str, int]:
    """Return what to say about *found*, and the exit code."""
    interval = f"({found.low:+.1%} to {found.high:+.1%})"
    if found.low > 0 and found.estimate > limit:
        return f"slower by {found.estimate:.1%} {interval}: more than {limit:.0%}", 1
    if not found.is_clear(limit):
        return f"too noisy to tell: {found.estimate:+.1%} {interval}", 2
    if found.low > 0:
        return f"slower by {found.estimate:.1%} {interval}", 0
    if found.high < 0:
        return f"faster by {-found.estimate:.1%} {interval}", 0
    return f"within noise: {found.estimate:+.1%} {interval}", 0


def lay_out(revision: str | None, folder: Path, *, is_compiled: bool) -> Path:
    """Put *revision* (None: the working tree) into *folder*; return where its package is."""
    tree = folder / "tree"
    if revision is None:
        left_out = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "docs", "tests")
        shutil.copytree(ROOT, tree, ignore=left_out)
    else:
        command = ["git", "-C", str(ROOT), "archive", revision]
        archive = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        with tarfile.open(fileobj=BytesIO(archive)) as files:
            files.extractall(tree, filter="data")
    source = tree / "src"
    if is_compiled:
        source = folder / "installed"
        pip = [sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--target", str(source), str(tree)]
        subprocess.run(pip, check=True, env=os.environ | {"SNOWPLOW_AIO_COMPILE": "1"})
    # The bytecode is made before anything is measured.
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(source)], check=True)
    return source


def run(source: Path, prefix: Sequence[str] = (), **given: Any) -> float:
    """Run the hot path of *source* in a fresh process and return what it prints."""
    parameters: dict[str, Any] = {"work": "chunks", "event": "page_view", "emitter": "store"}
    parameters |= {"chunks": CHUNKS, "events": EVENTS, "is_calibrated": True}
    parameters |= {"core": processes.cores()[0]} | given
    done = subprocess.run(
        [*prefix, *processes.command("ours.py", "ours", parameters)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=processes.variables("ours") | {"PYTHONPATH": str(source)},
        timeout=TIMEOUT,
        check=True,
    )
    return float(done.stdout)


def instructions(source: Path) -> float:
    """Return the instructions of one event: what twice the chunks take more than once as many."""
    counts = []
    for chunks in (CHUNKS, 2 * CHUNKS):
        with tempfile.NamedTemporaryFile("r") as report:
            prefix = ["perf", "stat", "-x,", "-e", "instructions:u", "-o", report.name, "--"]
            run(source, prefix, chunks=chunks, is_calibrated=False)
            counts.append(counted(report.read()))
    return (counts[1] - counts[0]) / (CHUNKS * EVENTS)


def counted(report: str) -> float:
    """
    Return the count of a `perf stat` *report* with commas.

    Raises ValueError when there is none, as where a virtual machine hides the counters.
    """
    (line,) = (line for line in report.splitlines() if "instructions" in line)
    return float(line.partition(",")[0])


def can_count() -> bool:
    """Whether `perf` counts instructions here."""
    if shutil.which("perf") is None:
        return False
    command = ["perf", "stat", "-x,", "-e", "instructions:u", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return done.returncode == 0 and counted(done.stderr) > 0
    except ValueError:
        return False


def paired(
    base: Path, head: Path, cost: Callable[[Path], float], *, fewest: int, most: int, limit: float
) -> Change:
    """Return what *fewest* pairs say, or as many up to *most* as it takes to say something clear."""
    ratios: list[float] = []
    found = Change(estimate=0.0, low=-1.0, high=1.0)
    while len(ratios) < fewest or (not found.is_clear(limit) and len(ratios) < most):
        # Who goes first takes turns: neither always meets the colder machine.
        order = (base, head) if len(ratios) % 2 == 0 else (head, base)
        costs = {source: cost(source) for source in order}
        ratios.append(costs[head] / costs[base])
        found = change(ratios)
    print(f"{len(ratios)} pairs of fresh processes, {CHUNKS * EVENTS:,} events each")
    return found


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Find out whether a change slows the hot path down.")
    parser.add_argument("base", help="a commit")
    parser.add_argument("head", nargs="?", default=None, help="another; the working tree if left out")
    parser.add_argument("--pairs", type=int, default=20, help="pairs of processes to begin with")
    parser.add_argument("--most", type=int, default=60, help="pairs at which to give up")
    parser.add_argument("--compiled", action="store_true", help="compare what mypyc makes of both")
    parser.add_argument("--limit", type=float, default=3.0, help="per cent that count as a slow-down")
    arguments = parser.parse_args(words)
    if arguments.pairs < MIN_PAIRS or arguments.most < arguments.pairs:
        parser.error(f"--pairs must be at least {MIN_PAIRS}, and --most not less than --pairs")
    limit = arguments.limit / 100
    with tempfile.TemporaryDirectory() as directory:
        folders = Path(directory, "base"), Path(directory, "head")
        base, head = (
            lay_out(revision, folder, is_compiled=arguments.compiled)
            for revision, folder in zip((arguments.base, arguments.head), folders, strict=True)
        )
        if can_count():
            print("counting instructions")
            found = paired(base, head, instructions, fewest=COUNTED_PAIRS, most=arguments.pairs, limit=limit)
        else:
            print("comparing CPU time: perf counts no instructions here")
            found = paired(base, head, run, fewest=arguments.pairs, most=arguments.most, limit=limit)
    text, code = judge(found, limit)
    print(text)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
