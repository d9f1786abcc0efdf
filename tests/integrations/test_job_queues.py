"""The visitor of a request in the tasks of Celery and taskiq that run in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, signals
from taskiq import AsyncBroker, InMemoryBroker, SimpleRetryMiddleware, TaskiqMessage, TaskiqMiddleware

from snowplow_aio import MemoryEmitter, use_subject
from snowplow_aio.integrations import celery as for_celery
from snowplow_aio.integrations.jobs import HEADER, extract, inject
from snowplow_aio.integrations.taskiq import SnowplowMiddleware
from snowplow_aio.sync import Tracker
from tests.integrations.test_jobs import SHIP, comparable, header_of, job, users

pytestmark = pytest.mark.anyio


# --- Celery


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("t", broker="memory://", set_as_current=False)
    for_celery.connect()
    with app:
        yield app


def sent(app: Celery) -> dict[str, Any]:
    """Return the headers of the message that was sent last."""
    with app.connection() as connection:
        message = connection.SimpleQueue("celery").get(timeout=20)
        message.ack()
        headers: dict[str, Any] = message.headers
        return headers


def test_a_task_that_is_run_at_once_is_about_whoever_is_bound_where_it_is_called(app: Celery) -> None:
    @app.task
    def ship() -> Any:
        return users()

    @app.task
    def outer() -> Any:
        return [*ship.apply().get(disable_sync_subtasks=False), *users()]

    app.conf.task_always_eager = True
    with use_subject(user_id="u-1"):
        assert ship.delay().get() == ["u-1"]
        assert outer.delay().get() == ["u-1", "u-1"]
        assert ship.apply().get() == ["u-1"]
        assert users() == ["u-1"]
    assert ship.delay().get() == [None]


def test_a_task_that_is_run_at_once_with_the_header_of_another_is_about_that_one(app: Celery) -> None:
    @app.task
    def ship() -> Any:
        return users()

    @app.task
    def outer() -> Any:
        return [*ship.apply(headers=header_of("u-3")).get(disable_sync_subtasks=False), *users()]

    other = header_of("u-2")
    with use_subject(user_id="u-1"):
        assert ship.apply(headers=other).get() == ["u-2"]
        assert users() == ["u-1"]
        found = outer.apply(headers=other).get()
        assert found[1:] == ["u-2"]
        assert users() == ["u-1"]


def test_in_a_worker_nothing_holds_that_is_bound_around_the_task_and_all_of_it_does_afterwards(
    app: Celery,
) -> None:
    @app.task
    def ship() -> None: ...

    def run(**headers: Any) -> list[str | None]:
        """Do what a worker does around a task that has come with these *headers*."""
        ship.push_request(id="1", is_eager=False, **headers)
        signals.task_prerun.send(sender=ship, task_id="1", task=ship)
        found = users()
        signals.task_postrun.send(sender=ship, task_id="1", task=ship)
        ship.pop_request()
        return found

    with use_subject(user_id="of-the-worker"):
        assert run() == [None]
        assert users() == ["of-the-worker"]
        assert run(**{HEADER: '1;all;{"visitor":{"uid":"u-1"}}'}) == ["u-1"]
        assert users() == ["of-the-worker"]


def test_a_task_that_fails_leaves_nothing_bound(app: Celery) -> None:
    @app.task
    def fail() -> None:
        raise LookupError("no such order")

    assert isinstance(fail.apply(headers=header_of("u-2")).result, LookupError)
    assert users() == [None]


def test_connecting_twice_is_connecting_once(app: Celery) -> None:
    for_celery.connect()
    calls = []

    @app.task
    def ship() -> Any:
        calls.append(users())

    with use_subject(user_id="u-1"):
        ship.apply(headers=header_of("u-1"))
    assert users() == [None]
    assert calls == [["u-1"]]


def test_a_header_that_is_given_goes_before_what_is_bound_and_others_stay(app: Celery) -> None:
    given = header_of("u-2")
    with use_subject(user_id="u-1"):
        app.send_task("ship", headers={"trace": "1"})
        assert sent(app).items() >= ({"trace": "1"} | inject()).items()
        app.send_task("ship", headers=given)
        assert sent(app).items() >= given.items()
    app.send_task("ship")
    assert HEADER not in sent(app)


def test_a_signature_that_is_sent_for_many_is_about_each_of_them(app: Celery) -> None:
    @app.task
    def ship() -> None: ...

    @app.task
    def complain() -> None: ...

    signature = ship.s().on_error(complain.s())
    for user in ("u-1", "u-2", None):
        with use_subject(user_id=user):
            signature.apply_async()
            assert sent(app).get(HEADER) == inject().get(HEADER)
    assert HEADER not in str(signature)


def test_a_task_that_a_flask_view_has_sent_is_about_its_visitor(app: Celery) -> None:
    flask = pytest.importorskip("flask")
    integration = pytest.importorskip("snowplow_aio.integrations.flask")
    emitter = MemoryEmitter()
    site: Any = flask.Flask("shop")
    options = {"user_id": lambda _: "u-42", "without_consent": "anonymous", "platform": None}
    integration.init_app(site, lambda: Tracker(emitter), **options)

    def cart() -> str:
        integration.tracker_of().track(SHIP)
        app.send_task("ship")
        return ""

    site.add_url_rule("/cart", view_func=cart, methods=["POST"])
    client = site.test_client()
    visitors: list[tuple[dict[str, str], str | None]] = [({}, "u-42"), ({"DNT": "1"}, None)]
    for headers, user in visitors:
        client.post("/cart", headers={"User-Agent": "Firefox", **headers})
        with extract(sent(app)):
            found = job()
        assert found == [comparable(emitter.payloads[-1].fields())]
        assert (found[0].get("uid"), found[0]["ua"]) == (user, "Firefox")


# --- taskiq


@pytest.fixture(params=["in a task", "in place"])
def broker(request: pytest.FixtureRequest) -> Iterator[InMemoryBroker]:
    broker = InMemoryBroker(await_inplace=request.param == "in place")
    broker.add_middlewares(SnowplowMiddleware(), SimpleRetryMiddleware(default_retry_count=3))
    yield broker
    broker.executor.shutdown()


async def result_of(broker: InMemoryBroker, task: Any) -> Any:
    await broker.wait_all()
    found = await task.get_result()
    if found.error is not None:
        raise found.error
    return found.return_value


async def test_a_task_is_about_the_visitor_whose_request_has_sent_it(broker: InMemoryBroker) -> None:
    @broker.task
    async def ship() -> Any:
        await asyncio.sleep(0)
        return users()

    @broker.task
    def ship_in_a_thread() -> Any:
        return users()

    for task in (ship, ship_in_a_thread):
        with use_subject(user_id="u-1"):
            first = await task.kiq()
            assert users() == ["u-1"]
        second = await task.kiq()
        assert await result_of(broker, first) == ["u-1"]
        assert await result_of(broker, second) == [None]
        with extract({HEADER: "1;nothing;"}):
            third = await task.kiq()
        assert await result_of(broker, third) == []
    assert users() == [None]


async def test_tasks_of_tasks_are_about_the_same_visitor(broker: InMemoryBroker) -> None:
    @broker.task
    async def inner() -> Any:
        return users()

    @broker.task
    async def outer() -> Any:
        with use_subject(lang="de"):
            task = await inner.kiq()
        return [*users(), (await task.wait_result(timeout=20)).return_value]

    with use_subject(user_id="u-1"):
        task = await outer.kiq()
        assert users() == ["u-1"]
    assert await result_of(broker, task) == ["u-1", ["u-1"]]
    assert users() == [None]


async def test_a_retry_is_about_the_visitor_of_the_first_attempt(broker: InMemoryBroker) -> None:
    attempts: list[Any] = []

    @broker.task(retry_on_error=True)
    async def ship() -> Any:
        attempts.append(users())
        if len(attempts) < 3:
            with use_subject(user_id="of-the-first-attempt"):
                raise LookupError

    with use_subject(user_id="u-1"):
        await ship.kiq()
    while broker._running_tasks:
        await broker.wait_all()
        await asyncio.sleep(0)
    assert attempts == [["u-1"]] * 3
    assert users() == [None]


async def test_a_label_that_is_given_goes_before_what_is_bound_and_no_task_keeps_one(
    broker: InMemoryBroker,
) -> None:
    @broker.task(color="red")
    async def ship() -> Any:
        return users()

    given = header_of("u-2")
    with use_subject(user_id="u-1"):
        task = await ship.kicker().with_labels(**given).kiq()
    assert await result_of(broker, task) == ["u-2"]
    assert await result_of(broker, await ship.kiq()) == [None]
    assert ship.labels == {"color": "red"}


async def test_what_other_middleware_tracks_is_about_the_visitor_too(broker: InMemoryBroker) -> None:
    seen: list[Any] = []

    class Watching(TaskiqMiddleware):
        def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
            seen.append(users())
            return message

        def post_execute(self, message: TaskiqMessage, result: Any) -> None:
            seen.append(users())

    broker.add_middlewares(Watching())

    @broker.task
    async def ship() -> None:
        raise LookupError

    with use_subject(user_id="u-1"):
        await ship.kiq()
    await broker.wait_all()
    assert seen == [["u-1"]] * 2


async def test_tasks_of_many_visitors_at_once_never_mix() -> None:
    broker = InMemoryBroker(max_async_tasks=100).with_middlewares(SnowplowMiddleware())
    assert isinstance(broker, AsyncBroker)

    @broker.task
    async def ship() -> Any:
        found = users()
        for _ in range(3):
            await asyncio.sleep(0)
            found += users()
        return found

    tasks = []
    for number in range(50):
        with use_subject(user_id=f"u-{number}"):
            tasks.append(await ship.kiq())
    for number, task in enumerate(tasks):
        assert set(await result_of(broker, task)) == {f"u-{number}"}
    broker.executor.shutdown()
