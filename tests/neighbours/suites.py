"""Test-suites of users, by the plugins that run their coroutines."""

from __future__ import annotations

from dataclasses import dataclass

from tests.neighbours.neighbour import Neighbour

# The application that is tested: its tracker is in the lifespan.
_SHOP = """
import os
from fastapi import FastAPI
from snowplow_aio import HttpEmitter, PageView, Tracker
from snowplow_aio.integrations.fastapi import CurrentTracker, SnowplowMiddleware, lifespan

def make_tracker():
    return Tracker(HttpEmitter(os.environ["COLLECTOR"]), app_id="shop")

app = FastAPI(lifespan=lifespan(make_tracker))
app.add_middleware(SnowplowMiddleware)

@app.get("/")
async def home(tracker: CurrentTracker) -> str:
    return await tracker.track(PageView(page_url="https://shop.example/"))
"""

# Each of the five tests tracks; what they use is made and closed in tasks that end in between.
_CONFTEST = """
import os
@IMPORT@
from snowplow_aio import HttpEmitter, Tracker

@FIXTURE@
async def tracker(@BACKEND@):
    async with Tracker(HttpEmitter(os.environ["COLLECTOR"]), app_id="suite") as tracker:
        yield tracker

@FIXTURE@
async def closed_late(@BACKEND@):
    # Made in a task, and closed in another one.
    tracker = Tracker(HttpEmitter(os.environ["COLLECTOR"]), app_id="suite")
    yield tracker
    await tracker.aclose()
    assert tracker.stats()["http"].dropped == {}
"""

_TESTS = """
import asyncio
@IMPORT@
from snowplow_aio import PageView

@MARK@
PAGE = PageView(page_url="https://shop.example/")

async def test_first(tracker):
    await tracker.track(PAGE)

async def test_second(tracker):
    await asyncio.gather(tracker.track(PAGE), tracker.track(PAGE))
    assert (await tracker.flush(30)).pending == 0

async def test_third(closed_late):
    closed_late.track_nowait(PAGE)

async def test_fourth(closed_late):
    await closed_late.track_and_confirm(PAGE, timeout=30)
"""

# A plain test, which the plugin leaves alone.
_PLAIN = """
from shop import app
from starlette.testclient import TestClient

def test_fifth():
    with TestClient(app) as client:
        assert len(client.get("/").json()) == 36
"""

# What those tests track.
EVENTS = 6


@dataclass(frozen=True, kw_only=True)
class Suite(Neighbour):
    """
    A plugin, and how its fixtures and tests are written.

    Attributes:
        plugin: What ``-p`` loads.

        fixture: The decorator of a fixture.

        mark: What makes the tests of a module coroutines of the plugin.

        imports: What the two need.

        backend: The argument of a fixture that anyio asks for.

        scope: The scope of fixtures, and of the loop that they live in.

        options: Lines of the configuration.
    """

    plugin: str
    fixture: str
    mark: str
    imports: str = "import pytest"
    backend: str = ""
    scope: str = "function"
    options: str = ""

    @property
    def files(self) -> dict[str, str]:
        """The files of the suite, by name."""
        parts = {
            "IMPORT": self.imports,
            "FIXTURE": self.fixture.format(scope=self.scope),
            "MARK": self.mark.format(scope=self.scope),
            "BACKEND": self.backend,
        }
        files = {"shop.py": _SHOP, "conftest.py": _CONFTEST, "test_shop.py": _TESTS, "test_page.py": _PLAIN}
        for word, part in parts.items():
            files = {name: text.replace(f"@{word}@", part) for name, text in files.items()}
        if self.backend and self.scope != "function":
            # Otherwise the plugin's own fixture of this name would end with each test.
            files["conftest.py"] += (
                f'\n@pytest.fixture(scope="{self.scope}")\ndef anyio_backend():\n    return "asyncio"\n'
            )
        return files | {"pytest.ini": f"[pytest]\n{self.options.format(scope=self.scope)}"}


def _asyncio(scope: str) -> Suite:
    return Suite(
        packages=("pytest-asyncio", "pytest"),
        plugin="pytest_asyncio.plugin",
        fixture='@pytest_asyncio.fixture(scope="{scope}", loop_scope="{scope}")',
        mark='pytestmark = pytest.mark.asyncio(loop_scope="{scope}")',
        imports="import pytest, pytest_asyncio",
        scope=scope,
        options="asyncio_default_fixture_loop_scope = {scope}\n",
    )


def _anyio(scope: str) -> Suite:
    return Suite(
        packages=("anyio", "pytest"),
        plugin="anyio.pytest_plugin",
        fixture='@pytest.fixture(scope="{scope}")',
        mark="pytestmark = pytest.mark.anyio",
        backend="anyio_backend",
        scope=scope,
    )


SUITES = {
    "pytest-asyncio, a loop for each test": _asyncio("function"),
    "pytest-asyncio, one loop": _asyncio("session"),
    "anyio's plugin, a loop for each test": _anyio("function"),
    "anyio's plugin, one loop": _anyio("session"),
}
