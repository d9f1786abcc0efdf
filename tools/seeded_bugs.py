"""
Seed known bugs into copies of the library, one at a time: the tests must catch each.

    python tools/seeded_bugs.py [NAME...]

A test that cannot fail proves nothing. These are the bugs that cost others
their events; whoever changes the delivery runs this to see that the net still holds.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent

# What a run may take; a bug that makes everything hang is caught by pytest's own time limit.
SECONDS = 600
TEST_SECONDS = 15


@dataclass(frozen=True)
class Bug:
    """
    A bug and the tests that are to catch it.

    Args:
        module: The file that it goes into, below the package.

        right: The lines as they are, there once.

        wrong: What takes their place.

        tests: The few files whose tests are to fail, and at once.
    """

    name: str
    module: str
    right: str
    wrong: str
    tests: tuple[str, ...]


BUGS = (
    Bug(
        "redirects are followed",
        "http/transport.py",
        '"allow_redirects": False',
        '"allow_redirects": True',
        ("tests/faults/test_answers.py",),
    ),
    Bug(
        "an await before a lease is given back",
        "delivery/loop.py",
        "            if (unsettled := batch.unsettled()) and not is_over:\n",
        "            await asyncio.sleep(0)\n"
        "            if (unsettled := batch.unsettled()) and not is_over:\n",
        ("tests/faults/simulation/test_cancellation.py",),
    ),
    Bug(
        "events taken in a task of their own",
        "delivery/loop.py",
        "            leased = await self._store.lease(\n"
        "                max_events=min(self.batching.max_batch, self._transport.max_events),\n"
        "                max_bytes=self.batching.byte_limit - self._transport.request_bytes,\n"
        "                event_bytes=self._transport.event_bytes,\n"
        "            )\n",
        "            leasing = self._store.lease(\n"
        "                max_events=min(self.batching.max_batch, self._transport.max_events),\n"
        "                max_bytes=self.batching.byte_limit - self._transport.request_bytes,\n"
        "                event_bytes=self._transport.event_bytes,\n"
        "            )\n"
        "            leased = await asyncio.create_task(leasing)\n",
        ("tests/faults/simulation/test_cancellation.py",),
    ),
    Bug(
        "a delivered event is not counted out",
        "delivery/reporting.py",
        "        self._counters.deliver(windows_of(events))\n",
        "",
        ("tests/faults/simulation/test_loss.py",),
    ),
    Bug(
        "a cancellation is swallowed",
        "delivery/emitter.py",
        "                await self._until_closed(seconds)\n            raise\n",
        "                return await self._until_closed(seconds)\n",
        ("tests/faults/simulation/test_cancellation.py",),
    ),
    Bug(
        "each sender backs off on its own",
        "delivery/circuit_breaker.py",
        "        return self.failures == 0 or (now >= self.not_before and in_flight == 0)\n",
        "        return self.failures == 0 or now >= self.not_before\n",
        ("tests/delivery/test_circuit_breaker.py",),
    ),
    Bug(
        "a lease is given back after errors only",
        "delivery/loop.py",
        "        finally:\n            self._in_hand.discard(batch)\n",
        "        except Exception:\n            self._in_hand.discard(batch)\n",
        ("tests/faults/simulation/test_cancellation.py",),
    ),
    Bug(
        "the body of an answer decides",
        "http/transport.py",
        "            if response is None:\n                raise\n            return response\n",
        "            raise\n",
        ("tests/http/test_emitter.py",),
    ),
)


def seed(bug: Bug, package: Path) -> None:
    """Put *bug* into the copy at *package*."""
    path = package / bug.module
    source = path.read_text()
    if source.count(bug.right) != 1:
        raise SystemExit(f"{bug.name}: {bug.module} has changed; say anew where the bug would be")
    path.write_text(source.replace(bug.right, bug.wrong))
    compile(path.read_text(), path, "exec")


def is_caught(bug: Bug) -> bool:
    """Return whether a test fails with *bug* in the library."""
    with tempfile.TemporaryDirectory() as directory:
        shutil.copytree(ROOT / "src" / "snowplow_aio", Path(directory, "snowplow_aio"))
        seed(bug, Path(directory, "snowplow_aio"))
        # A test that hangs ends the whole run: after it nothing can be cleaned up.
        limits = ("--timeout", str(TEST_SECONDS), "--timeout-method", "thread")
        options = ("-x", "-q", *limits, "-p", "no:cacheprovider")
        try:
            run = subprocess.run(
                [sys.executable, "-m", "pytest", *options, *bug.tests],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": directory},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            # The machine is too slow, or pytest does not come to its end: no test has failed.
            print(f"MISSED  {bug.name}: not done within {SECONDS} s", flush=True)
            return False
    # A test that fails, or hangs. Nothing collected or a fault of the runner proves nothing.
    proof = [line for line in run.stdout.splitlines() if line.startswith("FAILED") or "+ Timeout +" in line]
    print(f"{'caught' if proof else 'MISSED':7} {bug.name}: {(proof or [run.stdout[-500:]])[0]}", flush=True)
    return bool(proof)


def main() -> None:
    """Try the bugs that the command line names, all of them without one."""
    chosen = [bug for bug in BUGS if not sys.argv[1:] or bug.name in sys.argv[1:]]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        caught = list(pool.map(is_caught, chosen))
    print(f"{sum(caught)} of {len(caught)} seeded bugs caught")
    sys.exit(not caught or not all(caught))


if __name__ == "__main__":
    main()
