"""
How long an import takes, in processes of their own.

Parameters: ``code`` (what is timed), ``processes`` (how many) and ``core``.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from common import Stopwatch, parameters

# None of them is needed before an emitter is.
HEAVY = ("aiohttp", "redis", "celery")
TIMED = """
import sys, time
start = time.perf_counter()
{code}
seconds = time.perf_counter() - start
import json
print(json.dumps([seconds, [name for name in {heavy!r} if name in sys.modules]]))
"""


def main() -> None:
    given = parameters()
    command = [sys.executable, "-c", TIMED.format(code=given["code"], heavy=HEAVY)]
    watch = Stopwatch()
    watch.start()
    seconds, loaded = [], []
    # The first one may have to compile.
    for is_counted in (False, *[True] * given["processes"]):
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        took, loaded = json.loads(done.stdout)
        if is_counted:
            seconds.append(took)
    watch.stop()
    figures = {"import_ms": statistics.median(seconds) * 1e3, "heavy_modules": float(len(loaded))}
    watch.report({}, figures=figures, details={"loaded": loaded})


if __name__ == "__main__":
    main()
