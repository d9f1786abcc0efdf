"""
Every example in the manual of the synchronous tracker 0.8.0 runs here without ``await``.

The tables of the migration guide are applied to the examples as they stand in the manual, by nothing but
replacing text, and the results run against a real collector, a real Redis and a real Celery worker.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import signal
import threading
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from snowplow_aio import CeleryEmitter, HttpEmitter, PageView, RedisEmitter, Retry, enable_validation
from snowplow_aio.sync import Tracker
from tests.collector import Answer, Collector, Request, collector_in_a_thread
from tests.compat import manual
from tests.faults.celery.worker import Worker
from tests.redis.servers import RedisServer
from tests.waiting import wait_until

GUIDE = Path(__file__).parents[2] / "docs/howto/migrate.md"
SECTIONS = ("The names that change", "Examples of the manual that are wrong")
VIEW = PageView(page_url="http://www.example.com")
DOWN = Answer(503, is_processed=False)


def replacements() -> list[tuple[str, str]]:
    """Read the tables of the guide: what is written, and what is written instead, in their order."""
    page = GUIDE.read_text("utf-8")
    rows: list[tuple[str, str]] = []
    for section in SECTIONS:
        (text,) = re.findall(rf"^## {section}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
        rows += re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", text, re.MULTILINE)
    return rows


ROWS = replacements()


def one_import_a_line(source: str) -> str:
    """Give each name of an import a line of its own, as the guide says."""
    return re.sub(
        r"^(from \S+ import) (.+)$",
        lambda found: "\n".join(f"{found[1]} {name.strip()}" for name in found[2].split(",")),
        source,
        flags=re.MULTILINE,
    )


def replaced(source: str, old: str, new: str) -> str:
    """Replace *old*, a whole name, by *new*; a ``…`` in both stands for what is there."""
    pattern = re.escape(old).replace("…", "([^()]*?)")
    pattern = rf"(?<!\w){pattern}" if re.match(r"\w", old) else pattern
    pattern = rf"{pattern}(?!\w)" if re.search(r"\w$", old) else pattern
    return re.sub(pattern, lambda found: new.replace("…", found[1] if "…" in old else ""), source)


def migrated(source: str) -> str:
    """Return *source*, code for the synchronous tracker, after all that the guide's tables say."""
    source = one_import_a_line(source)
    for old, new in ROWS:
        source = replaced(source, old, new)
    return source


def name_of(event: Mapping[str, str]) -> str:
    """Return the type of an event, or of a self-describing one the name in its schema."""
    if event["e"] != "ue":
        return event["e"]
    text = event.get("ue_pr") or urlsafe_b64decode(event["ue_px"] + "==").decode()
    return str(json.loads(text)["data"]["schema"].split("/")[1])


class Program:
    """Runs examples of the manual, after the migration; its emitters send to *collector* and *server*."""

    def __init__(self, collector: Collector, server: RedisServer | None = None) -> None:
        self.names: dict[str, Any] = {}
        self._collector = collector
        self._server = server

    def run(self, example: str) -> None:
        """Run *example*."""
        source = migrated(example)
        assert "snowplow_tracker" not in source
        for host in manual.COLLECTORS:
            source = source.replace(host, self._collector.url.removeprefix("http://"))
        if self._server is not None:
            source = source.replace("Redis(db=2)", f"Redis(port={self._server.port}, db=2)")
            source = source.replace("RedisWorker(e, ", f"RedisWorker(e, client={self._server.url!r}, ")
        exec(compile(source, "an example", "exec"), self.names)

    def end(self) -> None:
        """Close what the examples have made, as they do not; this sends what is left."""
        made = self.names.values()
        trackers = {id(tracker): tracker for tracker in made if isinstance(tracker, Tracker)}
        for tracker in trackers.values():
            tracker.close(timeout=30)

    def events(self) -> list[Mapping[str, str]]:
        """Return the events that arrived. Each is a GET, and two of these may overtake each other."""
        self.end()
        return [event for request in self._collector.requests for event in request.events]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collector_in_a_thread() as running:
        yield running


@pytest.fixture
def server(shared_server: RedisServer) -> RedisServer:
    with redis.Redis(port=shared_server.port) as client:
        client.flushall()
    return shared_server


@pytest.fixture
def program(collector: Collector, server: RedisServer) -> Iterator[Program]:
    made = Program(collector, server)
    made.run(manual.GIVEN)
    yield made
    made.end()


def methods(requests: Sequence[Request]) -> list[str]:
    return [request.method for request in requests]


# --- the tables


def test_the_guide_has_its_two_tables() -> None:
    assert len(ROWS) > 30
    assert ("buffer_size", "batch_size") in ROWS


def every_example() -> str:
    """Return all examples in one text."""
    found = [value for name, value in vars(manual).items() if name.isupper() and isinstance(value, str)]
    return "\n".join([*found, *manual.SUBJECT.values(), *(code for code, _ in manual.METHODS.values())])


# What stands in the tables for users, and in no example.
FOR_USERS = {"redis.Redis", "dbr=", "Emitter(…, method="}


@pytest.mark.parametrize("row", ROWS, ids=[old for old, _ in ROWS])
def test_each_row_of_the_tables_is_for_something_in_the_manual(row: tuple[str, str]) -> None:
    source = one_import_a_line(every_example())
    for before in ROWS:
        if before == row:
            break
        source = replaced(source, *before)
    assert (replaced(source, *row) != source) != (row[0] in FOR_USERS)


def test_no_example_awaits_anything() -> None:
    for code in every_example().split("\n\n"):
        assert "await" not in migrated(code)


# --- 2 and 3


def test_a_tracker_is_made_with_an_emitter_and_a_name(collector: Collector, program: Program) -> None:
    program.run(manual.INITIALIZATION)
    program.names["tracker"].track_page_view("http://www.example.com")
    (event,) = program.events()
    assert (event["tna"], event["aid"], event["e"]) == ("cf", "cf29ea", "pv")
    assert methods(collector.requests) == ["GET"]


FIELDS: dict[str, Mapping[str, str]] = {
    "3": {"p": "mob", "uid": "user-12345", "lang": "en"},
    "3.1": {"p": "tv"},
    "3.2": {"uid": "alexd"},
    "3.3": {"res": "1366x768"},
    "3.4": {"vp": "300x200"},
    "3.5": {"cd": "32"},
    "3.6": {"tz": "Europe/London"},
    "3.7": {"lang": "en"},
    "3.8": {"ip": "34.633.11.139"},
    "3.9": {"ua": "Mozilla/5.0 (Windows NT 5.1; rv:23.0) Gecko/20100101 Firefox/23.0"},
    "3.10": {"duid": "c7aadf5c60a5dff9"},
    "3.11": {"tnuid": "ecdff4d0-9175-40ac-a8bb-325c49733607"},
}


@pytest.mark.parametrize("section", manual.SUBJECT)
def test_what_the_subject_is_told_is_sent(section: str, program: Program) -> None:
    program.run(manual.SUBJECT[section])
    program.names["t"].track_page_view("http://www.example.com")
    (event,) = program.events()
    assert FIELDS[section].items() <= event.items()


def test_the_function_for_djangos_cookies_runs_as_it_is(program: Program) -> None:
    program.run(manual.COOKIES)
    request = SimpleNamespace(COOKIES={"other": "x", "_sp_id.1fff": "c7aadf5c60a5dff9.1380000000.4"})
    assert program.names["get_domain_user_id"](request) == "c7aadf5c60a5dff9"


# --- 4


@pytest.mark.parametrize("section", manual.METHODS)
def test_what_is_tracked_arrives(section: str, program: Program) -> None:
    code, expected = manual.METHODS[section]
    program.run(code)
    assert Counter(map(name_of, program.events())) == Counter(expected)


def test_each_subject_has_its_own_events(program: Program) -> None:
    program.run(manual.SEVERAL_SUBJECTS)
    found = Counter((event["p"], event["uid"], event["aid"]) for event in program.events())
    assert found == {("pc", "0a78f2867de", "CF63A"): 2, ("mob", "0b08f8be3f1", "CF63A"): 1}


# --- 5


def test_three_events_fill_a_buffer_of_three_and_the_callback_is_told(
    collector: Collector, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    program.run(manual.CALLBACKS)
    wait_until(lambda: len(collector.accepted) == 3)
    program.end()
    assert methods(collector.requests) == ["GET"] * 3
    assert capsys.readouterr().out == "1 events sent successfully!\n" * 3
    assert program.names["unsent_events"] == []


def test_connections_stand_for_threads(program: Program) -> None:
    program.run(manual.THREADS)
    assert isinstance(program.names["e"], HttpEmitter)


def test_a_celery_worker_delivers_what_the_emitter_hands_over(
    collector: Collector, server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"SNOWPLOW_CELERY_BROKER_URL": server.url, "SNOWPLOW_COLLECTOR": collector.url}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with Tracker(CeleryEmitter()) as tracker:
        event_id = tracker.track_page_view("http://www.example.com").track_nowait(VIEW)
    command = shlex.split(migrated(manual.WORKER_COMMAND))
    assert (command[:2], command[3:]) == (["celery", "-A"], ["worker", "--loglevel=debug"])
    with Worker(tmp_path, variables, "--pool=solo", app=command[2]) as worker:
        wait_until(lambda: event_id in collector.accepted, worker.log)
    assert len(collector.accepted) == 2


def test_events_are_stored_in_redis_and_can_be_looked_at(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    program.run(manual.REDIS)
    (entry,) = ast.literal_eval(capsys.readouterr().out)
    assert json.loads(entry)["url"] == "http://www.example.com"


def test_a_flush_waits_and_a_flush_that_is_told_not_to_does_not(
    collector: Collector, program: Program
) -> None:
    tracker = program.names["t"]
    tracker.track_page_view("http://www.example.com")
    program.run("t.flush()")
    assert len(collector.accepted) == 1
    tracker.track_page_view("http://www.example.com")
    program.run("t.flush(False)")
    wait_until(lambda: len(collector.accepted) == 2)


def test_a_tracker_sends_to_several_emitters(
    collector: Collector, server: RedisServer, program: Program
) -> None:
    program.run(manual.SEVERAL_EMITTERS)
    program.names["t"].track_page_view("http://www.example.com")
    program.end()
    assert sorted(methods(collector.requests)) == ["GET", "POST"]
    with redis.Redis(port=server.port, db=2) as client:
        assert client.llen("my_snowplow_key") == 1


def test_events_that_failed_can_be_put_in_again(collector: Collector, program: Program) -> None:
    collector.script.extend([DOWN, DOWN])
    program.run(manual.RETRYING)
    again = program.names["on_failure_retry"]
    emitter = program.names["my_emitter"] = HttpEmitter(
        collector.url, flush_interval=0.01, retry=Retry.never(), on_failure=again
    )
    with Tracker(emitter) as tracker:
        event_id = tracker.track(VIEW)
        wait_until(lambda: collector.accepted)
    assert collector.accepted == {event_id: 1}


def test_an_emitter_of_ones_own_needs_an_input_method(program: Program) -> None:
    class Mine(list[Mapping[str, str]]):
        def input(self, payload: Mapping[str, str]) -> None:
            self.append(payload)

    mine = Mine()
    program.names["t"].add_emitter(mine).track_page_view("http://www.example.com")
    assert [payload["url"] for payload in mine] == ["http://www.example.com"]


def test_a_timer_can_be_set_and_cancelled(program: Program) -> None:
    program.run(manual.TIMER)


# --- 6 to 8


def test_a_value_of_the_wrong_kind_is_refused(program: Program) -> None:
    with pytest.raises(ValueError, match=r"^color_depth: must be bits per pixel.*got 'walrus'"):
        program.run(manual.WALRUS)


def test_contracts_can_be_switched_off(program: Program) -> None:
    try:
        program.run(manual.NO_CONTRACTS)
        program.run(manual.WALRUS)
    finally:
        enable_validation()


def test_the_logger_is_told_its_level(program: Program) -> None:
    try:
        program.run(manual.LOGGING)
        assert program.names["logger"].level == 60
    finally:
        program.names["logger"].setLevel(0)


def test_a_worker_runs_until_it_is_interrupted(
    collector: Collector, server: RedisServer, program: Program
) -> None:
    with Tracker(RedisEmitter(server.url, "snowplow_redis_key")) as tracker:
        event_ids = {tracker.track(VIEW) for _ in range(10)}

    def interrupt() -> None:
        wait_until(lambda: len(collector.accepted) == 10)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    program.run(manual.WORKER)
    thread.join()
    assert collector.accepted == dict.fromkeys(event_ids, 1)
    assert program.names["r"].stats().delivered == 10
