"""Keeps which neighbour has answered which question, for the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.neighbours import page
from tests.neighbours.neighbour import ALL

# The others need what only the session `neighbours` installs.
_QUICK = {"test_instruments.py", "test_page.py"}
collect_ignore: list[str] = [
    path.name for path in Path(__file__).parent.glob("test_*.py") if not ALL and path.name not in _QUICK
]

_PROPERTY = "answers of a neighbour"


def pytest_addoption(parser: pytest.Parser) -> None:
    help_text = "write what the tests find out of neighbours into docs/reference/works-with.md"
    parser.addoption("--write", action="store_true", help=help_text)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    # The page is about to be made; every other run compares it.
    is_ignored = collection_path.name == "test_page.py" and config.getoption("--write")
    return True if is_ignored else None


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "neighbour(name): what stands beside the library in this test")
    config.addinivalue_line("markers", "answers(*questions): what the test finds out about it")
    # The process that starts the tests hears of all of them.
    if config.getoption("--write") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Answers())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        neighbour, questions = item.get_closest_marker("neighbour"), item.get_closest_marker("answers")
        if neighbour is not None and questions is not None:
            item.user_properties.append((_PROPERTY, (neighbour.args[0], *questions.args)))


class _Answers:
    """
    Writes the page at the end of a run.

    A question that a neighbour fails in one test is not answered.
    """

    def __init__(self) -> None:
        self._passed: dict[str, set[str]] = {}
        self._failed: dict[str, set[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name == _PROPERTY and isinstance(value, list | tuple):
                neighbour, *questions = value
                if report.failed:
                    self._failed.setdefault(neighbour, set()).update(questions)
                if report.when == "call" and report.passed:
                    self._passed.setdefault(neighbour, set()).update(questions)

    def pytest_sessionfinish(self) -> None:
        nothing: set[str] = set()
        # One that failed in every test answers nothing; its row of an earlier run must not stay.
        page.write(
            {
                name: self._passed.get(name, nothing) - self._failed.get(name, nothing)
                for name in self._passed.keys() | self._failed.keys()
            }
        )
