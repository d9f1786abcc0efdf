"""The page "Works with": its table, made from what the tests have found out."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.neighbours.celery_apps import IN_CELERY
from tests.neighbours.freezers import FREEZERS
from tests.neighbours.instruments import INSTRUMENTS
from tests.neighbours.loops import LOOPS
from tests.neighbours.neighbour import QUESTIONS, Neighbour
from tests.neighbours.redis_servers import FAKES
from tests.neighbours.redis_servers import SERVERS as REDIS_SERVERS
from tests.neighbours.servers import SERVERS
from tests.neighbours.suites import SUITES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "works-with.md"
# What the page is made of: a run knows one Python only.
FOUND = Path(__file__).with_name("found.json")

_BEGIN, _END = "<!-- made by the tests: `nox -s neighbours -- --write` -->", "<!-- end of what is made -->"

# The parts of the page.
NEIGHBOURS: Mapping[str, Mapping[str, Neighbour]] = {
    "Instrumentation, and the loop itself": INSTRUMENTS,
    "Servers and frameworks": SERVERS,
    "A loop for each call": LOOPS,
    "Celery": IN_CELERY,
    "Redis and its kin": REDIS_SERVERS | FAKES,
    "Plugins of pytest": SUITES,
    "Frozen programs": FREEZERS,
}


@dataclass(frozen=True)
class Found:
    """
    What the tests have found out of one neighbour.

    Attributes:
        python: The minor version of Python.

        version: The neighbour's own.

        answers: The questions that are answered with yes.
    """

    python: str
    version: str
    answers: list[str]


Findings = dict[str, list[Found]]


def read() -> Findings:
    """Return what was found out, for each neighbour by Python."""
    kept = json.loads(FOUND.read_text("utf-8")) if FOUND.exists() else {}
    return {name: [Found(**one) for one in rows] for name, rows in kept.items()}


def write(answers: Mapping[str, set[str]]) -> None:
    """Keep the *answers* that this run has found of neighbours, and make the page of all that is known."""
    python = ".".join(platform.python_version_tuple()[:2])
    known = read()
    findings: Findings = {}
    for neighbours in NEIGHBOURS.values():
        for name, neighbour in neighbours.items():
            rows = {row.python: row for row in known.get(name, ())}
            if name in answers:
                said = [question for question in QUESTIONS if question in answers[name]]
                rows[python] = Found(python, neighbour.version, said)
            findings[name] = [rows[version] for version in sorted(rows, key=_numbers)]
    plain = {name: [asdict(row) for row in rows] for name, rows in findings.items()}
    FOUND.write_text(json.dumps(plain, indent=1) + "\n", "utf-8")
    above, _, below = PAGE.read_text("utf-8").partition(_BEGIN)
    below = below.partition(_END)[2]
    PAGE.write_text(f"{above}{_BEGIN}{tables(findings)}{_END}{below}", "utf-8")


def made_part(text: str) -> str:
    """Return the part of the page that is made."""
    return text.partition(_BEGIN)[2].partition(_END)[0]


def tables(findings: Findings) -> str:
    """Return the tables of the page."""
    parts = [
        _table(title, {name: findings.get(name, []) for name in neighbours})
        for title, neighbours in NEIGHBOURS.items()
    ]
    return "\n\n" + "\n\n".join(parts) + "\n\n"


def _table(title: str, findings: Findings) -> str:
    asked = {question for rows in findings.values() for row in rows for question in row.answers}
    questions = {word: text for word, text in QUESTIONS.items() if word in asked}
    lines = [
        f"## {title}",
        "",
        "| | version | Python | " + " | ".join(questions.values()) + " |",
        "|---" * (3 + len(questions)) + "|",
    ]
    for name, rows in findings.items():
        lines += [_line(name, together, questions) for together in _by_version(rows)]
    return "\n".join(lines)


def _line(name: str, rows: list[Found], questions: Mapping[str, str]) -> str:
    cells = ["yes" if all(word in row.answers for row in rows) else "" for word in questions]
    pythons = ", ".join(row.python for row in rows)
    return "| " + " | ".join([name, rows[0].version, pythons, *cells]) + " |"


def _by_version(rows: list[Found]) -> list[list[Found]]:
    """Return *rows* with those of one version together."""
    versions: dict[str, list[Found]] = {}
    for row in rows:
        versions.setdefault(row.version, []).append(row)
    return list(versions.values())


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]
