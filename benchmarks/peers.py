"""
The peers' own environment, so that their dependencies and ours never meet.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = ("snowplow-tracker==1.1.0",)
CACHE = Path(__file__).parent / ".cache"


def python(cache: Path = CACHE) -> Path:
    """
    Return the interpreter of the peers' environment, which is made on the first call.

    It is of the same Python version as the one that runs this.
    """
    digest = hashlib.sha256("\n".join(REQUIREMENTS).encode()).hexdigest()[:8]
    major, minor = sys.version_info[:2]
    home = cache / f"peers-{major}.{minor}-{digest}"
    interpreter = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    # Written last: an installation that was interrupted is made anew.
    ready = home / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        subprocess.run([str(interpreter), "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
        ready.touch()
    return interpreter
