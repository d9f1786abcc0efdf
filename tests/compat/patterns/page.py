"""The blocks of the page of patterns, to be run as programs."""

from __future__ import annotations

import re
from pathlib import Path

_PAGES = Path(__file__).parents[3] / "docs" / "howto"

_COLLECTOR = "https://collector.example.com"


def blocks(title: str, collector: str = _COLLECTOR, page: str = "bots-and-workers") -> list[str]:
    """
    Return the Python blocks of the section *title* of *page* that readers see.

    Their events go to the *collector* at that URL, by flush and close only: no timer sends what these forget.
    """
    _, _, after = (_PAGES / f"{page}.md").read_text("utf-8").partition(f"\n## {title}\n")
    section = after.partition("\n## ")[0]
    found = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found, f"the page has no blocks for {title!r}"
    given, tested = f'HttpEmitter("{_COLLECTOR}")', f'HttpEmitter("{collector}", flush_interval=None)'
    return [block.replace(given, tested) for block in found]


# What blocks further up have imported.
IMPORTS = """
import asyncio
from uuid import NAMESPACE_URL, uuid5
from snowplow_aio import HttpEmitter, StructuredEvent, Tracker
"""


def program(*parts: str) -> str:
    """Return one program of all *parts*."""
    return "\n".join([IMPORTS, *parts])
