"""A `CeleryEmitter` hands batches to any broker, even a failing one, and never makes `track` wait."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from celery import Celery

from snowplow_aio import (
    CeleryEmitter,
    ConfigurationError,
    Emitter,
    EmitterStats,
    MemoryEmitter,
    PageView,
    Payload,
    Tracker,
)
from snowplow_aio.celery_app import register
from tests.celery.conftest import messages
from tests.faults.celery.worker import environment
from tests.redis.servers import RedisServer

pytestmark = pytest.mark.anyio

_PAGE = "https://example.com/"


def _app(broker: RedisServer, **settings: Any) -> Celery:
    app = Celery("shop", broker=broker.url, set_as_current=False)
    app.conf.update(settings)
    return app


def _tracker(emitter: Emitter) -> Tracker:
    return Tracker(emitter, namespace="t", app_id="a")


async def _eventually(
    tracker: Tracker, condition: Callable[[EmitterStats], bool], seconds: float = 30
) -> None:
    async with asyncio.timeout(seconds):
        while not condition(tracker.stats()["celery"]):  # noqa: ASYNC110 - a broker is waited for
            await asyncio.sleep(0.01)


async def test_a_batch_is_one_json_message_for_the_task(broker: RedisServer) -> None:
    async with _tracker(CeleryEmitter(_app(broker))) as tracker:
        ids = [await tracker.track(PageView(page_url=f"{_PAGE}{i}")) for i in range(3)]

    (message,) = messages(broker)
    (events,), details, _ = message["body"]
    assert message["headers"]["task"] == "snowplow_aio.deliver"
    assert message["content-type"] == "application/json"
    assert [event["eid"] for event in events] == ids
    assert [event["url"] for event in events] == [f"{_PAGE}{i}" for i in range(3)]
    assert details == {"anonymous": False}


async def test_what_monitors_see_of_a_message_has_nothing_of_an_event(broker: RedisServer) -> None:
    async with _tracker(CeleryEmitter(_app(broker))) as tracker:
        await tracker.track(PageView(page_url=_PAGE))

    (message,) = messages(broker)
    assert message["headers"]["argsrepr"] == "<1 event>"
    assert "example.com" not in json.dumps(message["headers"])


async def test_text_of_any_kind_is_what_it_was(broker: RedisServer) -> None:
    title = "„5“ \\ \u2028 \x00 \U0001f600 </script>"
    emitter = CeleryEmitter(_app(broker))
    _tracker(kept := MemoryEmitter()).track_nowait(PageView(page_url=_PAGE, page_title=title))
    (payload,) = kept.payloads
    async with _tracker(emitter):
        await emitter.input(payload)

    ((event,),) = messages(broker)[0]["body"][0]
    assert event["page"] == title
    # A worker sends the same bytes: if they differ, the pipeline takes them for another event.
    assert Payload(event).json == payload.json


async def test_anonymous_events_have_messages_of_their_own(broker: RedisServer) -> None:
    async with _tracker(CeleryEmitter(_app(broker))) as tracker:
        for i in range(10):
            await tracker.track(PageView(page_url=_PAGE), anonymous=i % 2 == 1)

    sent = [(len(message["body"][0][0]), message["body"][1]["anonymous"]) for message in messages(broker)]
    assert sum(count for count, anonymous in sent if anonymous) == 5
    assert sum(count for count, anonymous in sent if not anonymous) == 5


async def test_batches_keep_the_order_and_the_bounds(broker: RedisServer) -> None:
    async with _tracker(CeleryEmitter(_app(broker), max_batch=30, queue="other")) as tracker:
        for i in range(100):
            await tracker.track(PageView(page_url=f"{_PAGE}{i}"))

    batches = [message["body"][0][0] for message in messages(broker, "other")]
    assert max(map(len, batches)) <= 30
    assert [event["url"] for batch in batches for event in batch] == [f"{_PAGE}{i}" for i in range(100)]


async def test_the_applications_app_is_used_as_it_is(broker: RedisServer) -> None:
    app = _app(broker, broker_transport_options={"socket_timeout": 77}, task_serializer="pickle")
    before = dict(app.conf), sorted(app.tasks)
    async with _tracker(CeleryEmitter(app)) as tracker:
        await tracker.track(PageView(page_url=_PAGE))

    assert (dict(app.conf), sorted(app.tasks)) == before
    assert messages(broker)[0]["content-type"] == "application/json"


async def test_a_queue_that_the_app_does_not_know_keeps_the_events(broker: RedisServer) -> None:
    app = _app(broker, task_create_missing_queues=False)
    async with _tracker(CeleryEmitter(app, drain_timeout=0)) as tracker:
        await tracker.track(PageView(page_url=_PAGE))
        await tracker.flush(wait=False)
        await _eventually(tracker, lambda stats: stats.state == "misconfigured")

        assert "add it to task_queues" in str(tracker.health())


async def test_a_broker_that_refuses_the_password_keeps_the_events_until_it_takes_it(
    own_broker: RedisServer,
) -> None:
    async with _tracker(CeleryEmitter(_app(own_broker))) as tracker:
        with redis.Redis(port=own_broker.port) as client:
            client.config_set("requirepass", "secret")
            await tracker.track(PageView(page_url=_PAGE))
            await tracker.flush(wait=False)
            await _eventually(tracker, lambda stats: stats.state == "misconfigured")
            client.config_set("requirepass", "")

        assert (await tracker.flush(30)).delivered == 1


async def test_a_full_broker_is_tried_again(own_broker: RedisServer) -> None:
    async with _tracker(CeleryEmitter(_app(own_broker))) as tracker:
        with redis.Redis(port=own_broker.port) as client:
            client.config_set("maxmemory", 1)
            await tracker.track(PageView(page_url=_PAGE))
            await tracker.flush(wait=False)
            await _eventually(tracker, lambda stats: sum(stats.retries.values()) > 0)
            assert tracker.stats()["celery"].state == "backing_off"
            client.config_set("maxmemory", 0)

        assert (await tracker.flush(30)).delivered == 1
    assert len(messages(own_broker)) == 1


async def test_a_frozen_broker_never_keeps_track_waiting_and_gets_everything_later(
    own_broker: RedisServer,
) -> None:
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            gaps.append(time.monotonic() - before)

    async with _tracker(CeleryEmitter(_app(own_broker), publish_timeout=4)) as tracker:
        await tracker.track(PageView(page_url=_PAGE))
        await tracker.flush(30)
        own_broker.freeze()
        ticking = asyncio.create_task(tick())
        for _ in range(500):
            await tracker.track(PageView(page_url=_PAGE))
        await _eventually(tracker, lambda stats: sum(stats.retries.values()) >= 2)
        assert tracker.stats()["celery"].delivered == 1
        ticking.cancel()
        own_broker.thaw()

        assert (await tracker.flush(30)).delivered == 500
    # When a frozen server goes on, it executes commands that it had already read.
    ids = [event["eid"] for message in messages(own_broker) for event in message["body"][0][0]]
    assert len(set(ids)) == 501
    # Far longer than pauses of a busy machine, far shorter than waiting for one publish.
    assert max(gaps) < 3


async def test_a_frozen_broker_does_not_hold_up_the_end(own_broker: RedisServer) -> None:
    emitter = CeleryEmitter(_app(own_broker), publish_timeout=30)
    tracker = _tracker(emitter)
    await tracker.track(PageView(page_url=_PAGE))
    await tracker.flush(30)
    own_broker.freeze()
    await tracker.track(PageView(page_url=_PAGE))

    before = time.monotonic()
    result = await tracker.aclose(0.2)

    assert time.monotonic() - before < 10
    assert (result.delivered, result.dropped) == (0, 1)
    own_broker.thaw()


async def test_a_broker_that_is_not_there_at_first_gets_everything(own_broker: RedisServer) -> None:
    own_broker.kill()
    async with _tracker(CeleryEmitter(_app(own_broker))) as tracker:
        for _ in range(60):
            await tracker.track(PageView(page_url=_PAGE))
        await _eventually(tracker, lambda stats: stats.retries.get("ConnectionError", 0) >= 1)
        own_broker.start()

        assert (await tracker.flush(30)).delivered == 60
    assert sum(len(message["body"][0][0]) for message in messages(own_broker)) == 60


async def test_a_broker_that_is_killed_and_started_again_gets_everything(
    persistent_broker: RedisServer,
) -> None:
    ids = []
    async with _tracker(CeleryEmitter(_app(persistent_broker), max_batch=20)) as tracker:
        for _ in range(3):
            ids += [await tracker.track(PageView(page_url=_PAGE)) for _ in range(100)]
            await asyncio.to_thread(persistent_broker.kill)
            ids += [await tracker.track(PageView(page_url=_PAGE)) for _ in range(100)]
            await asyncio.to_thread(persistent_broker.start)

        assert (await tracker.flush(30)).pending == 0
    sent = {event["eid"] for message in messages(persistent_broker) for event in message["body"][0][0]}
    assert sent == set(ids)


def test_it_goes_from_one_event_loop_to_the_next(broker: RedisServer) -> None:
    tracker = _tracker(CeleryEmitter(_app(broker)))

    async def track() -> None:
        await tracker.track(PageView(page_url=_PAGE))
        await tracker.flush(30)

    asyncio.run(track())
    asyncio.run(track())
    asyncio.run(_close(tracker))

    assert len(messages(broker)) == 2


async def _close(tracker: Tracker) -> None:
    await tracker.aclose()


# --- our own app, in processes of their own

_SEND = """
import asyncio
from snowplow_aio import CeleryEmitter, PageView, Tracker

async def main():
    async with Tracker(CeleryEmitter(), namespace="t", app_id="a") as tracker:
        await tracker.track(PageView(page_url="https://example.com/"))

asyncio.run(main())
"""


def _run(code: str, folder: Any = None, **variables: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    run = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env=environment(**variables),
        cwd=folder,
        timeout=50,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_environment_says_where_the_broker_is(broker: RedisServer) -> None:
    # CELERY_BROKER_URL is another app's variable and must not redirect our events.
    _run(
        _SEND,
        SNOWPLOW_CELERY_BROKER_URL=broker.url,
        SNOWPLOW_CELERY_QUEUE="ours",
        CELERY_BROKER_URL="redis://127.0.0.1:1/",
    )

    assert len(messages(broker, "ours")) == 1


@pytest.mark.parametrize("name", ["broker_url", "BROKER_URL"])
def test_a_module_says_where_the_broker_is(broker: RedisServer, tmp_path: Any, name: str) -> None:
    (tmp_path / "snowplow_celery_config.py").write_text(f"{name} = {broker.url!r}\n")
    _run(_SEND, tmp_path)

    assert len(messages(broker)) == 1


_END = """
import asyncio
from snowplow_aio import CeleryEmitter, PageView, Tracker

async def main():
    tracker = Tracker(CeleryEmitter(publish_timeout=30), namespace="t", app_id="a")
    await tracker.track(PageView(page_url="https://example.com/"))
    assert (await tracker.flush(30)).delivered == 1
    input("connected")
    await tracker.track(PageView(page_url="https://example.com/"))
    assert (await tracker.aclose(0.2)).dropped == 1
    print("closed", flush=True)

asyncio.run(main())
"""


def test_a_program_ends_though_the_broker_does_not_answer(own_broker: RedisServer) -> None:
    variables = environment(SNOWPLOW_CELERY_BROKER_URL=own_broker.url)
    pipe = subprocess.PIPE
    command = [sys.executable, "-W", "error", "-c", _END]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=variables) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stdout.read(len("connected")) == "connected"
        own_broker.freeze()
        program.stdin.write("\n")
        program.stdin.flush()
        assert program.stdout.readline() == "closed\n"
        before = time.monotonic()
        assert program.wait(50) == 0
    # A publish takes 30 seconds, the interpreter far less.
    assert time.monotonic() - before < 10


def test_celery_is_not_loaded_before_an_emitter_is_made_and_the_default_app_stays(
    broker: RedisServer,
) -> None:
    out = _run(
        """
import sys
import snowplow_aio
from snowplow_aio import *
assert "celery" not in sys.modules
assert "kombu" not in sys.modules
import celery
before = celery.current_app._get_current_object(), celery._state.default_app, sorted(celery.current_app.tasks)
snowplow_aio.CeleryEmitter()
import snowplow_aio.celery_app
snowplow_aio.celery_app.app
after = celery.current_app._get_current_object(), celery._state.default_app, sorted(celery.current_app.tasks)
assert before == after, (before, after)
print(celery.current_app.main)
""",
        SNOWPLOW_COLLECTOR="collector.example.com",
    )
    assert out.strip() == "default"


def test_the_environment_is_read_only_for_what_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNOWPLOW_CELERY_QUEUE", " a")
    app = Celery(set_as_current=False)

    CeleryEmitter(app, queue="events")
    incomplete: list[dict[str, Any]] = [{}, {"app": app}, {"queue": "events"}]
    for arguments in incomplete:
        with pytest.raises(ConfigurationError, match=r"^SNOWPLOW_CELERY_QUEUE: must not have spaces"):
            CeleryEmitter(**arguments)


def test_without_celery_the_error_names_the_extra() -> None:
    _run("""
import sys
sys.modules["celery"] = None
from snowplow_aio import CeleryEmitter
try:
    CeleryEmitter()
except ModuleNotFoundError as error:
    assert str(error) == 'CeleryEmitter needs Celery: pip install "snowplow-aio[celery]"', error
else:
    raise AssertionError
""")


# --- apps with settings of all kinds

# Each changes what `app.send_task` does. None may change where our messages go, or what they are.
_SETTINGS: list[Any] = [
    pytest.param({"task_always_eager": True, "task_eager_propagates": True}, id="eager tasks"),
    pytest.param({"result_backend": "nonsense.module:Backend"}, id="a result backend that is not there"),
    pytest.param({"result_backend": "rpc://", "task_ignore_result": False}, id="results over the broker"),
    pytest.param({"task_serializer": "pickle", "accept_content": ["pickle", "json"]}, id="pickle"),
    pytest.param({"task_serializer": "yaml", "accept_content": ["application/json"]}, id="a media type"),
    pytest.param({"task_routes": {"*": {"queue": "elsewhere"}}}, id="a route for all tasks"),
    pytest.param(
        {"task_routes": {"*": {"queue": "elsewhere", "exchange": "elsewhere", "routing_key": "elsewhere"}}},
        id="a route by exchange",
    ),
    pytest.param({"task_routes": {"*": {"expires": 1, "priority": 3, "serializer": "pickle"}}}, id="options"),
    pytest.param({"task_default_queue": "elsewhere", "task_default_exchange": "elsewhere"}, id="a queue"),
    pytest.param({"task_protocol": 1}, id="the protocol of Celery 3"),
    pytest.param({"task_protocol": 1, "task_send_sent_event": True}, id="events for monitors"),
    pytest.param({"task_compression": "gzip"}, id="a compression"),
    pytest.param({"task_compression": "brotli"}, id="a compression that is not there"),
    pytest.param({"timezone": "Europe/Berlin", "enable_utc": False}, id="a timezone"),
    pytest.param({"task_default_delivery_mode": "transient"}, id="transient messages"),
    pytest.param({"broker_transport_options": {"global_keyprefix": ""}}, id="options of the broker"),
    pytest.param({"task_annotations": {"*": {"rate_limit": "1/h", "priority": 9}}}, id="annotations"),
    pytest.param({"worker_proc_alive_timeout": 1, "task_store_eager_result": True}, id="others"),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("settings", _SETTINGS)
async def test_no_setting_of_the_application_changes_a_message(
    broker: RedisServer, settings: dict[str, Any]
) -> None:
    async with _tracker(CeleryEmitter(_app(broker, **settings))) as tracker:
        event_id = await tracker.track(PageView(page_url=_PAGE))
        assert (await tracker.flush(30)).delivered == 1

    (message,) = messages(broker)
    with redis.Redis(port=broker.port) as client:
        assert [key for key in client.scan_iter() if not key.startswith(b"_kombu.")] == [b"snowplow"]
    assert [event["eid"] for event in message["body"][0][0]] == [event_id]
    assert message["content-type"] == "application/json"
    assert message["headers"].get("compression") is None
    assert (message["headers"]["task"], message["headers"]["ignore_result"]) == ("snowplow_aio.deliver", True)
    assert message["headers"]["expires"] is None


_WITHOUT_JSON: list[Any] = [["pickle"], ("yaml", "msgpack"), [], {"application/x-python-serialize"}, ["auth"]]


@pytest.mark.parametrize("accepted", _WITHOUT_JSON)
def test_an_app_whose_workers_would_throw_batches_away_is_refused(accepted: Any) -> None:
    app = Celery("shop", broker="redis://127.0.0.1:1/", set_as_current=False)
    app.conf.accept_content = accepted

    for use in (CeleryEmitter, register):
        with pytest.raises(ConfigurationError, match=r"^app: accept_content must have 'json' in it"):
            use(app)


def test_the_settings_may_come_from_a_class_or_a_module() -> None:
    class Settings:
        accept_content = ("pickle",)

    app = Celery("shop", broker="redis://127.0.0.1:1/", set_as_current=False, config_source=Settings)
    with pytest.raises(ConfigurationError, match=r"^app: accept_content"):
        CeleryEmitter(app)


async def test_settings_that_change_later_keep_the_events(broker: RedisServer) -> None:
    app = _app(broker)
    async with _tracker(CeleryEmitter(app, drain_timeout=0)) as tracker:
        app.conf.accept_content = ["pickle"]
        await tracker.track(PageView(page_url=_PAGE))
        await tracker.flush(wait=False)
        await _eventually(tracker, lambda stats: stats.state == "misconfigured")

        assert "accept_content must have 'json' in it" in str(tracker.health())
    assert messages(broker) == []


_URLS: list[Any] = [
    "redis://:hunter2@127.0.0.1:1/0",
    "redis://:hunter2@127.0.0.1:hunter2/0",
    "redis://:hunt/er2@[::1:6379",
    "amqp://guest:hunter2@127.0.0.1:1//",
    "hunter2://guest:hunter2@127.0.0.1//",
    "redis://:hunter2@127.0.0.1:1/0;redis://:hunter2@127.0.0.1:1/1",
    "sentinel://:hunter2@127.0.0.1:1",
    "sqs://hunter2:hunter2@",
]


@pytest.mark.parametrize("url", _URLS)
async def test_the_password_of_a_broker_is_never_shown(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "snowplow_aio")
    app = Celery("shop", broker=url, set_as_current=False)
    async with _tracker(CeleryEmitter(app, drain_timeout=0, publish_timeout=2)) as tracker:
        await tracker.track(PageView(page_url=_PAGE))
        await tracker.flush(wait=False)
        await _eventually(tracker, lambda stats: stats.state in {"misconfigured", "backing_off"})
        said = f"{tracker.health()!r} {tracker.stats()!r} {caplog.text}"

    assert "hunter2" not in said
    assert "er2" not in said


async def test_what_a_broker_says_is_shown_as_one_short_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "snowplow_aio")
    said = "-ERR redis://:hunter2@cache \x1b[31m" + "x" * 10_000 + "\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            writer.write(said.encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        app = Celery("shop", broker=f"redis://127.0.0.1:{port}/0", set_as_current=False)
        async with _tracker(CeleryEmitter(app, drain_timeout=0)) as tracker:
            await tracker.track(PageView(page_url=_PAGE))
            await tracker.flush(wait=False)
            await _eventually(tracker, lambda stats: stats.last_error is not None)
            shown = f"{tracker.stats()['celery'].last_error} {caplog.text}"
    assert "hunter2" not in shown
    assert "\x1b" not in shown
    assert "x" * 300 not in shown
