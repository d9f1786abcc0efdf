"""Workers of Celery deliver the events of a `CeleryEmitter`, and say why they could not deliver others."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from celery import Celery, signals
from celery.exceptions import Reject

from snowplow_aio import CeleryEmitter, ConfigurationError, PageView, Tracker, celery_app
from snowplow_aio.celery_app import register
from snowplow_aio.micro import Micro
from snowplow_aio.micro.collector import ANONYMOUS_USER_ID
from snowplow_aio.settings import Settings
from tests.celery.conftest import messages, track, wait_for_acknowledgement
from tests.faults.celery.worker import Worker, environment
from tests.faults.server import CollectorProcess, Faults
from tests.redis.servers import RedisServer
from tests.scale import scale
from tests.waiting import wait_until

NewWorker = Callable[..., Worker]

_PAGE = "https://example.com/"

_EVENT: dict[str, object] = {
    "e": "pv",
    "p": "pc",
    "tv": "py-1",
    "eid": "6e1ac2a8-9a5c-4bd5-9b8e-5d0c5cbd5c55",
}


def _settings(broker: RedisServer, collector: CollectorProcess, **more: str) -> dict[str, str]:
    return {
        "SNOWPLOW_CELERY_BROKER_URL": broker.url,
        "SNOWPLOW_COLLECTOR": collector.url,
        "SNOWPLOW_CELERY_DELIVERY_TIMEOUT": "30",
    } | more


def _send(broker: RedisServer, *args: object, name: str = "deliver", **kwargs: object) -> None:
    """Publish a message that is not from a `CeleryEmitter`."""
    app = Celery(broker=broker.url, set_as_current=False)
    queue = "snowplow" if name == "deliver" else "snowplow.dead"
    app.send_task(f"snowplow_aio.{name}", args=args, kwargs=kwargs, queue=queue)


# In a short run, the other tests have the pool "solo".
@pytest.mark.parametrize(
    ("options", "connections"),
    [
        pytest.param(("--pool=prefork", "-c1"), 1, id="prefork"),
        pytest.param(("--pool=threads", "-c4"), 4, id="threads"),
        *scale([], [pytest.param(("--pool=solo",), 1, id="solo")]),
    ],
)
def test_every_event_is_delivered_once_over_kept_connections(
    broker: RedisServer,
    collector: CollectorProcess,
    new_worker: NewWorker,
    options: tuple[str, ...],
    connections: int,
) -> None:
    track(broker.url, *[_PAGE] * 1000)
    worker = new_worker(_settings(broker, collector), *options)

    wait_until(lambda: collector.counts().distinct == 1000, worker.log)
    # Events may have arrived before their message is acknowledged.
    wait_for_acknowledgement(broker, worker)
    assert worker.terminate() == 0
    assert (collector.counts().processed, messages(broker)) == (1000, [])
    assert collector.counts().connected <= connections
    assert "Traceback" not in worker.log()
    assert "Unclosed" not in worker.log()


@pytest.mark.anyio
async def test_anonymous_events_arrive_as_such(broker: RedisServer, new_worker: NewWorker) -> None:
    async with Micro() as micro:
        app = Celery(broker=broker.url, set_as_current=False)
        async with Tracker(CeleryEmitter(app), namespace="t", app_id="a") as tracker:
            for i in range(6):
                await tracker.track(PageView(page_url=_PAGE), anonymous=i % 2 == 1)
        settings = {"SNOWPLOW_CELERY_BROKER_URL": broker.url, "SNOWPLOW_COLLECTOR": micro.url}
        await asyncio.to_thread(new_worker, settings, "--pool=solo")

        await micro.wait_for(6, timeout=30)
        users = Counter(event["event"]["network_userid"] == ANONYMOUS_USER_ID for event in micro.good)
    assert (users, micro.bad) == ({True: 3, False: 3}, [])


def test_events_wait_as_long_as_the_collector_fails(
    broker: RedisServer, collector: CollectorProcess, new_worker: NewWorker
) -> None:
    collector.do(Faults(refused=1))
    track(broker.url, *[_PAGE] * 50, batch=25)
    # Long enough for an answer: a delivery that is cut off earlier would be repeated.
    settings = _settings(broker, collector, SNOWPLOW_CELERY_DELIVERY_TIMEOUT="2")
    worker = new_worker(settings, "--pool=solo")
    worker.wait_for("0 events delivered, 25 are left", times=2)
    assert collector.counts().processed == 0

    collector.do(Faults())

    wait_until(lambda: collector.counts().distinct == 50, worker.log)
    wait_for_acknowledgement(broker, worker)
    assert collector.counts().duplicates == 0


def test_only_what_is_left_of_a_batch_is_delivered_again(
    broker: RedisServer, collector: CollectorProcess, new_worker: NewWorker
) -> None:
    # A request that the time-out of a task cuts off is repeated, so let those be refused.
    collector.do(Faults(quota=8))
    track(broker.url, *[_PAGE] * 20)
    # By GET each event has an answer of its own.
    worker = new_worker(
        _settings(broker, collector, SNOWPLOW_METHOD="get", SNOWPLOW_CELERY_DELIVERY_TIMEOUT="2"),
        "--pool=solo",
    )
    worker.wait_for("8 events delivered, 12 are left")

    collector.do(Faults())

    wait_until(lambda: collector.counts().acknowledged >= 20, worker.log)
    wait_for_acknowledgement(broker, worker)
    assert collector.counts().acknowledged == 20


def test_refused_events_are_put_aside_with_the_reason_and_the_others_delivered(
    broker: RedisServer, collector: CollectorProcess, new_worker: NewWorker
) -> None:
    pages = [_PAGE] * 30
    pages[7] = f"{_PAGE}answer/400"
    track(broker.url, *pages)
    worker = new_worker(_settings(broker, collector), "--pool=solo")

    worker.wait_for("29 events delivered, 1 refused")
    wait_for_acknowledgement(broker, worker)
    (letter,) = messages(broker, "snowplow.dead")
    (events,), details, _ = letter["body"]
    assert letter["headers"]["task"] == "snowplow_aio.dead"
    assert [event["url"] for event in events] == [f"{_PAGE}answer/400"]
    assert details == {"reason": "refused", "status": 400, "anonymous": False}
    assert collector.counts().processed == 29
    assert "example.com/answer" not in worker.log()


def test_what_was_put_aside_is_tried_again_by_a_worker_that_is_told_to(
    broker: RedisServer, collector: CollectorProcess, new_worker: NewWorker
) -> None:
    _send(broker, [_EVENT], name="dead", reason="refused")
    worker = new_worker(_settings(broker, collector), "--pool=solo", "-Q", "snowplow,snowplow.dead")

    wait_until(lambda: collector.counts().distinct == 1, worker.log)


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_what_is_no_event_is_put_aside_and_stops_nothing_and_nothing_is_unpickled(
    broker: RedisServer, collector: CollectorProcess, new_worker: NewWorker, tmp_path: Path
) -> None:
    trap = tmp_path / "sprung"
    app = Celery(broker=broker.url, set_as_current=False)
    app.send_task("snowplow_aio.deliver", args=[_Trap(trap)], queue="snowplow", serializer="pickle")
    _send(broker)
    _send(broker, "text")
    _send(broker, [_EVENT], 2)
    _send(broker, [_EVENT], unheard=1)
    _send(broker, ["text", None, {}, {"e": "pv"}, _EVENT | {"unheard": "1"}, _EVENT | {"tna": 5}])
    _send(broker, [_EVENT, "text"])
    worker = new_worker(_settings(broker, collector), "--pool=solo")

    wait_until(lambda: collector.counts().distinct == 1, worker.log)
    wait_for_acknowledgement(broker, worker)
    dead = messages(broker, "snowplow.dead")
    # Four that are no batches, six events that are none, and the one beside a good one.
    assert sum(len(message["body"][0][0]) for message in dead) == 4 + 6 + 1
    assert all(message["body"][1]["reason"] and message["body"][1]["status"] is None for message in dead)
    assert collector.counts().processed == 1
    assert "Refusing to deserialize untrusted content of type pickle" in worker.log()
    assert not trap.exists()
    # The one for the pickle.
    assert worker.log().count("Traceback") == 1


def test_anothers_worker_delivers_when_its_app_has_learnt_the_task(
    broker: RedisServer, collector: CollectorProcess, new_worker: NewWorker, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(f"""
from celery import Celery, current_app
from snowplow_aio.celery_app import register

app = Celery("shop", broker={broker.url!r}, set_as_current=False)
app.conf.task_default_queue = "snowplow"
register(app)

@app.task
def sell(): ...

assert {{name for name in app.tasks if not name.startswith("celery.")}} == {{
    "shop.sell", "snowplow_aio.deliver", "snowplow_aio.dead"
}}
assert "snowplow_aio.deliver" not in current_app.tasks
assert "snowplow_aio.deliver" not in Celery("other", set_as_current=False).tasks
""")
    track(broker.url, *[_PAGE] * 10)
    worker = new_worker(_settings(broker, collector), "--pool=solo", app="shop")

    wait_until(lambda: collector.counts().distinct == 10, worker.log)


def test_a_registered_task_without_a_collector_keeps_the_events(
    broker: RedisServer, new_worker: NewWorker, tmp_path: Path
) -> None:
    source = "from celery import Celery\nfrom snowplow_aio.celery_app import register\n"
    source += f"app = Celery('shop', broker={broker.url!r})\n"
    source += "app.conf.task_default_queue = 'snowplow'\nregister(app)\n"
    (tmp_path / "shop.py").write_text(source)
    track(broker.url, *[_PAGE] * 10)
    worker = new_worker({}, "--pool=solo", app="shop")

    worker.wait_for("0 events delivered, 10 are left")
    assert "SNOWPLOW_COLLECTOR: must be set to the collector's host or URL" in worker.log()
    assert worker.terminate() == 0
    assert [len(message["body"][0][0]) for message in messages(broker)] == [10]


# --- without a worker


def test_a_worker_without_a_collector_says_so_and_does_not_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "celery", "-A", "snowplow_aio.celery_app", "worker"]
    run = subprocess.run(
        command, env=environment(), cwd=tmp_path, check=False, capture_output=True, text=True, timeout=50
    )

    assert run.returncode != 0
    assert "SNOWPLOW_COLLECTOR: must be set to the collector's host or URL, got None" in run.stderr


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"COLLECTOR": "ftp://a"}, "SNOWPLOW_COLLECTOR: endpoint: must be a host or an http"),
        ({"COLLECTOR": "a", "METHOD": "put"}, "SNOWPLOW_METHOD: must be one of post, get, got 'put'"),
    ],
)
def test_a_wrong_variable_is_named(
    variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in variables.items():
        monkeypatch.setenv(f"SNOWPLOW_{name}", text)

    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}"):
        _ = celery_app.app


def test_the_module_has_no_other_attribute() -> None:
    with pytest.raises(AttributeError, match=r"^module 'snowplow_aio.celery_app' has no attribute 'ap'$"):
        _ = celery_app.ap


def test_what_the_broker_does_not_take_back_is_not_acknowledged() -> None:
    app = Celery(broker="redis://127.0.0.1:1", set_as_current=False)
    app.conf.update(task_publish_retry=False, broker_transport_options={"max_retries": 0})
    register(app, Settings(collector="http://127.0.0.1:1", celery_delivery_timeout=0.1))
    task = app.tasks["snowplow_aio.deliver"]
    task.push_request(
        id="1", called_directly=False, delivery_info={"exchange": "", "routing_key": "snowplow"}
    )
    try:
        with pytest.raises(Reject) as raised:
            task.run([_EVENT])
    finally:
        task.pop_request()

    # The reason, and `requeue`.
    assert raised.value.args == ("kept", True)


_OWN_APP = """
from celery import Celery
from snowplow_aio.celery_app import register

app = Celery("shop", broker={broker!r})
register(app)
app.conf.update({settings!r})
"""


def _write_app(folder: Path, broker: RedisServer, **settings: object) -> str:
    """Write the module of an application that registers the task, and return its name."""
    (folder / "own_shop.py").write_text(_OWN_APP.format(broker=broker.url, settings=settings))
    return "own_shop"


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(
            {"task_routes": {"*": {"queue": "other", "exchange": "other", "routing_key": "other"}}},
            id="routes",
        ),
        *scale(
            [],
            [
                pytest.param({"task_always_eager": True}, id="eager tasks"),
                pytest.param({"task_protocol": 1, "task_compression": "brotli"}, id="protocol"),
                pytest.param({"result_backend": "rpc://", "task_ignore_result": False}, id="results"),
            ],
        ),
    ],
)
def test_settings_of_an_application_change_nothing_about_what_is_left_of_a_batch(
    broker: RedisServer,
    collector: CollectorProcess,
    new_worker: NewWorker,
    tmp_path: Path,
    settings: dict[str, object],
) -> None:
    app = _write_app(tmp_path, broker, **settings)
    collector.do(Faults(refused=1))
    track(broker.url, *[_PAGE] * 10)
    variables = _settings(broker, collector, SNOWPLOW_CELERY_DELIVERY_TIMEOUT="0.3")
    worker = new_worker(variables, "--pool=solo", "-Qsnowplow", app=app)
    # From the second time on it is the message of the worker, not that of the emitter.
    worker.wait_for("0 events delivered, 10 are left", times=2)
    _send(broker, "no batch")
    wait_until(lambda: len(messages(broker, "snowplow.dead")) == 1, worker.log)

    collector.do(Faults())

    wait_until(lambda: collector.counts().distinct == 10, worker.log)
    wait_for_acknowledgement(broker, worker)
    assert messages(broker, "other") == []


class _Starting:
    """A worker before it starts."""

    def __init__(self, app: Celery) -> None:
        self.app = app


def test_a_worker_that_would_throw_batches_away_does_not_start() -> None:
    app, other = Celery("shop", set_as_current=False), Celery("other", set_as_current=False)
    register(app)
    app.conf.accept_content = ["yaml"]
    # Celery sends this before a worker takes its first message, and logs all errors but one like this.
    with pytest.raises(SystemExit, match=r"^snowplow_aio: app: accept_content must have 'json' in it"):
        signals.worker_init.send(sender=_Starting(app))
    signals.worker_init.send(sender=_Starting(other))
    app.conf.accept_content = ["yaml", "json"]
    signals.worker_init.send(sender=_Starting(app))


@pytest.mark.parametrize("folder", ["where the worker starts", *scale([], ["--workdir"])])
def test_the_documented_command_finds_the_module_in_the_folder(
    broker: RedisServer, collector: CollectorProcess, tmp_path: Path, folder: str
) -> None:
    place = tmp_path if folder == "where the worker starts" else tmp_path / "elsewhere"
    place.mkdir(exist_ok=True)
    (place / "snowplow_celery_config.py").write_text(
        f"broker_url = {broker.url!r}\ntask_soft_time_limit = 7\n"
    )
    options = [] if place == tmp_path else ["--workdir", str(place)]
    command = [str(Path(sys.executable).with_name("celery")), "-A", "snowplow_aio.celery_app", *options]
    run = subprocess.run(
        [*command, "report"],
        check=False,
        capture_output=True,
        text=True,
        env=environment(SNOWPLOW_COLLECTOR=collector.url),
        cwd=tmp_path,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert "task_soft_time_limit: 7" in run.stdout
