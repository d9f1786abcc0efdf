"""
The machine: its cores, and the line that says what the figures were made on.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path


def cores() -> tuple[int | None, int | None]:
    """
    Return the core for clients and the core for the sink.

    Both are None where a process cannot be kept on a core or has only one.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    available = sorted(os.sched_getaffinity(0))
    return (available[0], available[-1]) if len(available) > 1 else (None, None)


def cpu_model() -> str:
    """
    Return the name of the CPU as the system tells it.
    """
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe() -> dict[str, object]:
    """
    Return what a reader must know of the machine to compare figures.
    """
    client_core, sink_core = cores()
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        # Of the minute before: above 0.5 somebody else is at work, and the figures show it.
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "client_core": client_core,
        "sink_core": sink_core,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
