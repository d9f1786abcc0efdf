"""
Does a change slow the hot path down? ``python benchmarks/compare.py BASE [HEAD]``.

Both commits (HEAD: the working tree, unless named) are laid out in a temporary
folder, with ``--compiled`` as pip installs them with a C compiler. `track`
with a store in memory is measured in pairs of fresh processes: its CPU time per
event against a calibration loop. The exit code is 0 within the limit, 1 when
HEAD is slower by more, and 2 when the machine was too noisy to tell.
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
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import processes

ROOT = Path(__file__).parent.parent
CHUNKS, EVENTS = 15, 1_000
RESAMPLES = 2_000
# The share that counts as a slow-down.
LIMIT = 0.03
# With fewer, a median and its interval mean nothing.
MIN_PAIRS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """By how much HEAD is slower, as a share of BASE's cost; with 95 % certainty between *low* and *high*."""

    estimate: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the truth lies on one side of `LIMIT`."""
        return self.low > LIMIT or self.high <= LIMIT


def change(ratios: Sequence[float], seed: int = 0) -> Change:
    """
    Return what the *ratios* of cost, HEAD to BASE, one of each pair, say together.

    The interval is a bootstrap's: the medians of many draws from the pairs.
    """
    logs, draw = [math.log(one) for one in ratios], random.Random(seed)
    medians = sorted(statistics.median(draw.choices(logs, k=len(logs))) for _ in range(RESAMPLES))
    low, high = medians[int(RESAMPLES * 0.025)], medians[int(RESAMPLES * 0.975)]
    return Change(estimate=math.expm1(statistics.median(logs)), low=math.expm1(low), high=math.expm1(high))


def judge(found: Change) -> tuple[str, int]:
    """Return what to say about *found*, and the exit code."""
    interval = f"({found.low:+.1%} to {found.high:+.1%})"
    if found.low > 0 and found.estimate > LIMIT:
        return f"slower by {found.estimate:.1%} {interval}: more than {LIMIT:.0%}", 1
    if not found.is_clear:
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


def cost(source: Path) -> float:
    """Return what one `track` of *source* costs, measured in a fresh process."""
    parameters: dict[str, Any] = {"work": "chunks", "event": "page_view", "emitter": "store"}
    parameters |= {"chunks": CHUNKS, "events": EVENTS}
    done = processes.run_client("ours.py", "ours", parameters, {"PYTHONPATH": str(source)})
    return float(done["cost"])


def paired(base: Path, head: Path, *, fewest: int, most: int) -> Change:
    """Return what *fewest* pairs say, or as many up to *most* as it takes to say something clear."""
    ratios: list[float] = []
    found = Change(estimate=0.0, low=-1.0, high=1.0)
    while len(ratios) < fewest or (not found.is_clear and len(ratios) < most):
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
    arguments = parser.parse_args(words)
    if arguments.pairs < MIN_PAIRS or arguments.most < arguments.pairs:
        parser.error(f"--pairs must be at least {MIN_PAIRS}, and --most not less than --pairs")
    with tempfile.TemporaryDirectory() as folder:
        base = lay_out(arguments.base, Path(folder, "base"), is_compiled=arguments.compiled)
        head = lay_out(arguments.head, Path(folder, "head"), is_compiled=arguments.compiled)
        processes.pin(processes.cores()[0])
        found = paired(base, head, fewest=arguments.pairs, most=arguments.most)
    text, code = judge(found)
    print(text)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
