"""What is bound to a task may be left anywhere: it harms nothing, and what others have bound stays."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from fastapi import Depends, FastAPI

from snowplow_aio import (
    MemoryEmitter,
    PageView,
    SelfDescribingJson,
    Subject,
    Tracker,
    current_subject,
    disable_validation,
    enable_validation,
    use_context,
    use_subject,
)
from snowplow_aio.model.validation import is_validating
from snowplow_aio.tracking.scope import bound_contexts
from tests.integrations.made import http_scope, request

pytestmark = pytest.mark.anyio

ENTITY = SelfDescribingJson("iglu:com.acme/user/jsonschema/1-0-0", {"tier": "gold"})

# By name: what binds, and whether it is bound here.
BINDINGS: dict[str, tuple[Callable[[], AbstractContextManager[Any]], Callable[[], bool]]] = {
    "use_subject": (lambda: use_subject(user_id="u-42"), lambda: current_subject() is not None),
    "use_context": (lambda: use_context(ENTITY), lambda: bound_contexts.get() is not None),
    "disable_validation": (disable_validation, lambda: not is_validating()),
}
each_binding = pytest.mark.parametrize(("bind", "is_bound"), BINDINGS.values(), ids=BINDINGS)

Bind = Callable[[], AbstractContextManager[Any]]
IsBound = Callable[[], bool]


@each_binding
def test_a_binding_that_is_left_in_another_context_harms_nothing(bind: Bind, is_bound: IsBound) -> None:
    binding = bind()

    contextvars.copy_context().run(binding.__enter__)
    assert not is_bound()
    contextvars.copy_context().run(binding.__exit__, None, None, None)
    assert not is_bound()


@each_binding
def test_leaving_a_binding_elsewhere_leaves_those_of_others_alone(bind: Bind, is_bound: IsBound) -> None:
    binding, context = bind(), contextvars.copy_context()
    context.run(binding.__enter__)

    with bind():
        binding.__exit__(None, None, None)
        assert is_bound()
    assert not is_bound()
    assert context.run(is_bound), "the context itself goes on"


@each_binding
async def test_an_async_generator_may_be_closed_by_another_task(bind: Bind, is_bound: IsBound) -> None:
    async def dependency() -> AsyncGenerator[None]:
        with bind():
            yield

    async def request() -> None:
        generator = dependency()
        await anext(generator)
        assert is_bound()
        await asyncio.create_task(generator.aclose())

    await asyncio.create_task(request())
    assert not is_bound()


@each_binding
async def test_bindings_that_are_left_in_another_order_than_they_were_entered_in(
    bind: Bind, is_bound: IsBound
) -> None:
    first, second = bind(), bind()
    first.__enter__()
    second.__enter__()

    first.__exit__(None, None, None)
    assert is_bound()
    second.__exit__(None, None, None)
    assert not is_bound()


def test_leaving_the_outer_subject_takes_its_fields_and_leaves_the_inner_ones() -> None:
    outer, inner = use_subject(user_id="u-1", lang="en"), use_subject(user_id="u-2")
    outer.__enter__()
    inner.__enter__()

    outer.__exit__(None, None, None)
    assert repr(current_subject()) == "Subject(user_id='u-2')"
    inner.__exit__(None, None, None)
    assert current_subject() is None


async def test_a_task_keeps_what_it_has_inherited_when_its_parent_leaves_it() -> None:
    is_left = asyncio.Event()

    async def child() -> Subject | None:
        await is_left.wait()
        return current_subject()

    with use_subject(user_id="u-42"):
        task = asyncio.create_task(child())
        await asyncio.sleep(0)
    is_left.set()

    assert current_subject() is None
    assert repr(await task) == "Subject(user_id='u-42')"


def test_one_switch_can_be_entered_again_inside() -> None:
    switch = disable_validation()
    with switch, enable_validation(), switch:
        assert not is_validating()
    assert is_validating()


def test_a_binding_is_a_decorator_that_can_call_itself() -> None:
    @use_subject(user_id="u-42")
    def depth(levels: int) -> int:
        assert current_subject() is not None
        return 0 if levels == 0 else 1 + depth(levels - 1)

    assert depth(3) == 3
    assert current_subject() is None


def _application(dependency: Callable[..., Any], tracker: Tracker) -> FastAPI:
    app = FastAPI()

    @app.get("/", dependencies=[Depends(dependency)])
    async def page() -> dict[str, str]:
        await tracker.track(PageView(page_url="https://shop.example/"))
        return {}

    return app


@each_binding
async def test_every_kind_of_dependency_of_fastapi_ends_without_an_error(
    bind: Bind, is_bound: IsBound
) -> None:
    def plain() -> Generator[None]:
        with bind():
            yield

    async def coroutine() -> AsyncGenerator[None]:
        with bind():
            yield

    for dependency in (plain, coroutine):
        tracker = Tracker(emitter := MemoryEmitter())
        app = _application(dependency, tracker)
        for _ in range(3):
            assert (await request(app, http_scope()))[0]["status"] == 200
        assert len(emitter.payloads) == 3
    assert not is_bound()


async def test_an_async_generator_of_fastapi_binds_for_its_request() -> None:
    async def dependency(user: str) -> AsyncGenerator[None]:
        with use_subject(user_id=user):
            yield

    tracker = Tracker(emitter := MemoryEmitter())
    app = _application(dependency, tracker)
    for user in ("a", "b"):
        await request(app, http_scope(f"/?user={user}"))

    assert [payload.get("uid") for payload in emitter.payloads] == ["a", "b"]


@contextmanager
def _failing() -> Generator[None]:
    with use_subject(user_id="u-42"):
        yield


def test_an_error_inside_is_the_error_that_comes_out() -> None:
    with pytest.raises(KeyError, match="mine"), _failing():
        raise KeyError("mine")
    assert current_subject() is None
