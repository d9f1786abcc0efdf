"""
A command line tool that counts the lines of files, and tracks each file that it was given.

There is no event loop, so the tracker is the blocking one. Its `with` statement sends the
last events, however the tool ends, and takes three seconds at most where the collector is away.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

from snowplow_aio import HttpEmitter, StructuredEvent
from snowplow_aio.sync import Tracker

COLLECTOR = os.environ.get("COLLECTOR", "http://127.0.0.1:9090")


def count(path: Path, tracker: Tracker) -> bool:
    """Print the number of lines of *path*; return whether it could be read."""
    try:
        lines = len(path.read_text("utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        print(f"{path.name}: {type(error).__name__}", file=sys.stderr)
        tracker.track_exception(error)
        return False
    print(f"{path.name}: {lines}")
    # The name of a file may be nobody else's business. Its kind is not.
    tracker.track(StructuredEvent(category="files", action="counted", label=path.suffix or None, value=lines))
    return True


def main() -> int:
    """Count the lines of the files that are named on the command line."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("path", nargs="+", type=Path)
    paths = parser.parse_args().path
    # Python stops on the spot at a SIGTERM. So the `with` statement comes to its end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with Tracker(HttpEmitter(COLLECTOR, request_timeout=2, drain_timeout=3), app_id="count-lines") as tracker:
        results = [count(path, tracker) for path in paths]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
