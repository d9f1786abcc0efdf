"""An exception as an event."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from snowplow_aio import ApplicationError, HttpEmitter, MemoryEmitter, Subject, Tracker
from snowplow_aio.entities.application import Application
from snowplow_aio.micro import Micro
from tests.conformance.oracle import Oracle
from tests.model.sent import data_of

pytestmark = pytest.mark.anyio

LIMITS = {
    "message": 2048,
    "stackTrace": 8192,
    "causeStackTrace": 8192,
    "className": 1024,
    "exceptionName": 1024,
    "fileName": 1024,
    "threadName": 1024,
}


def raised(run: Callable[[], Any]) -> BaseException:
    """Return the exception that *run* raises."""
    try:
        run()
    except BaseException as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("it raised nothing")


class Shop:
    def pay(self, amount: int) -> float:
        return amount / 0


class OutOfStockError(Exception):
    pass


def data(error: BaseException) -> dict[str, Any]:
    sent: dict[str, Any] = data_of(ApplicationError.from_exception(error))
    return sent


def test_an_error_says_what_it_is_and_where_it_was_raised() -> None:
    said = data(raised(lambda: Shop().pay(1)))

    assert said["message"] == "division by zero"
    assert said["exceptionName"] == "ZeroDivisionError"
    assert said["programmingLanguage"] == "PYTHON"
    assert said["className"] == "Shop"
    assert said["fileName"].endswith("test_error.py")
    assert said["lineNumber"] == Shop.pay.__code__.co_firstlineno + 1
    assert said["lineColumn"] == len("        return ") + 1
    assert said["threadName"] == "MainThread"
    assert said["threadId"] == threading.get_native_id()
    lines = said["stackTrace"].splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-2:] == ["    return amount / 0", "ZeroDivisionError: division by zero"]
    assert "causeStackTrace" not in said
    assert "isFatal" not in said


def test_a_thread_whose_number_is_too_large_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "get_native_id", lambda: 2**31)
    assert "threadId" not in data(OutOfStockError())


def test_an_error_that_was_never_raised_has_no_place() -> None:
    said = data(OutOfStockError("shoes"))

    assert said["exceptionName"] == f"{__name__}.OutOfStockError"
    assert said["stackTrace"] == f"{__name__}.OutOfStockError: shoes\n"
    assert said.keys() & {"fileName", "lineNumber", "lineColumn", "className"} == set()


def test_a_function_in_a_function_is_no_class() -> None:
    def fails() -> None:
        raise OutOfStockError

    assert "className" not in data(raised(fails))


def test_an_error_without_a_message_says_its_name() -> None:
    assert data(OutOfStockError())["message"] == f"{__name__}.OutOfStockError"


def test_what_caused_it_stands_apart_the_nearest_first() -> None:
    def fails() -> None:
        try:
            try:
                raise KeyError("sku")  # noqa: TRY301
            except KeyError:
                raise OutOfStockError("shoes")  # noqa: B904 - the context is meant
        except OutOfStockError as error:
            raise RuntimeError("no order") from error

    said = data(raised(fails))

    assert "OutOfStockError" not in said["stackTrace"].splitlines()[-1]
    headlines = [line for line in said["causeStackTrace"].splitlines() if not line.startswith(" ")]
    assert headlines == [
        "Caused by:",
        "Traceback (most recent call last):",
        f"{__name__}.OutOfStockError: shoes",
        "Raised while this was handled:",
        "Traceback (most recent call last):",
        "KeyError: 'sku'",
    ]


def test_a_cause_that_the_code_hides_is_hidden() -> None:
    def fails() -> None:
        try:
            raise KeyError("hush")  # noqa: TRY301
        except KeyError:
            raise RuntimeError("no order") from None

    assert "causeStackTrace" not in data(raised(fails))


def test_notes_stand_below_the_error() -> None:
    error = OutOfStockError("shoes")
    error.add_note("while packing \udcff")
    assert data(error)["stackTrace"].splitlines() == [
        f"{__name__}.OutOfStockError: shoes",
        "while packing \\udcff",
    ]


def test_a_group_shows_what_it_holds_and_what_led_to_that() -> None:
    inner: Any = raised(lambda: Shop().pay(2))
    caused = OutOfStockError("shoes")
    caused.__cause__ = KeyError("sku")
    group = ExceptionGroup("orders", [caused, ExceptionGroup("payments", [inner])])
    trace = data(group)["stackTrace"]

    assert [line for line in trace.splitlines() if not line.startswith(" ")] == [
        "ExceptionGroup: orders (2 sub-exceptions)",
        "Exception 1 of the group:",
        f"{__name__}.OutOfStockError: shoes",
        "Exception 1. Caused by:",
        "KeyError: 'sku'",
        "Exception 2 of the group:",
        "ExceptionGroup: payments (1 sub-exception)",
        "Exception 2.1 of the group:",
        "Traceback (most recent call last):",
        "ZeroDivisionError: division by zero",
    ]


# Two that call each other: Python folds equal lines.
def deep(levels: int) -> None:
    if levels == 0:
        raise OutOfStockError("the bottom")
    deeper(levels - 1)


def deeper(levels: int) -> None:
    deep(levels - 1)


def chain(length: int) -> BaseException:
    error: BaseException = ValueError("the first")
    for i in range(length):
        error, cause = ValueError(f"number {i}"), error
        error.__cause__ = cause
    return error


class Unspeakable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError("hush")


def in_circles() -> BaseException:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def nested(depth: int) -> Any:
    error: Any = ValueError("innermost")
    for _ in range(depth):
        error = ExceptionGroup("outer", [error])
    return error


def noted() -> BaseException:
    error = ValueError("m")
    for i in range(500):
        error.add_note(f"note {i}")
    return error


LARGE: dict[str, Callable[[], BaseException]] = {
    "a long message": lambda: ValueError("😀" * 100_000),
    "a deep stack": lambda: raised(lambda: deep(400)),
    "endless recursion": lambda: raised(lambda: deep(10**6)),
    "a long chain": lambda: chain(3_000),
    "a wide group": lambda: ExceptionGroup("g" * 9000, [ValueError("v" * 900) for _ in range(500)]),
    "a deep group": lambda: nested(500),
    "a circle of causes": in_circles,
    "a long name": lambda: type("E" * 5000, (Exception,), {})("m"),
    "no unicode": lambda: OSError(2, "No such file", "\udcff" * 3000),
    "no text at all": Unspeakable,
    "many notes": noted,
    "control characters": lambda: ValueError("\x00\x1b[31m"),
    "a signal's": KeyboardInterrupt,
    "a syntax error": lambda: raised(lambda: compile("def", "x" * 3000, "exec")),
    "a source line that is too long": lambda: raised(
        lambda: exec(compile("1" + " + 1" * 900 + " / 0", "e", "exec"))
    ),
}


@pytest.mark.parametrize("kind", LARGE)
def test_whatever_the_error_its_event_is_valid(kind: str, oracle: Oracle) -> None:
    said = data(LARGE[kind]())

    assert oracle.errors(ApplicationError.schema_uri, said) == []
    assert {name: limit for name, limit in LIMITS.items() if len(said.get(name, "")) > limit} == {}
    assert said["message"]


def test_of_a_deep_stack_the_innermost_frames_are_kept() -> None:
    trace = data(raised(lambda: deep(400)))["stackTrace"]

    assert len(trace) > 7_000
    assert trace.endswith(f"{__name__}.OutOfStockError: the bottom\n")
    assert 'raise OutOfStockError("the bottom")' in trace
    head, left_out = trace.splitlines()[:2]
    assert head == "Traceback (most recent call last):"
    shown = trace.count("  File ")
    # 401 calls, the lambda and `raised`.
    assert left_out == f"  [{403 - shown} outer frames left out]"


def test_of_a_long_chain_the_nearest_and_the_first_cause_are_kept() -> None:
    trace = data(chain(3_000))["causeStackTrace"]

    errors = [line for line in trace.splitlines() if line.startswith("ValueError")]
    assert errors == [f"ValueError: number {i}" for i in (2998, 2997, 2996, 2995, 2, 1, 0)] + [
        "ValueError: the first"
    ]
    assert "[2992 others between]" in trace


def test_of_a_wide_group_as_many_as_fit_are_shown_and_the_rest_is_counted() -> None:
    trace = data(ExceptionGroup("orders", [ValueError(f"order {i}") for i in range(500)]))["stackTrace"]

    assert trace.splitlines()[-1] == "[493 more exceptions]"
    assert trace.count("ValueError: order ") == 7


def test_a_long_error_leaves_the_others_of_a_group_their_place() -> None:
    group = ExceptionGroup("orders", [ValueError("x" * 20_000), ValueError("short")])
    trace = data(group)["stackTrace"]

    assert "ValueError: short\n" in trace
    assert "xxx…\n" in trace
    assert len(trace) > 8_000


async def test_it_is_tracked_as_every_event_is() -> None:
    async with Micro() as collector:
        async with Tracker(HttpEmitter(collector.url), namespace="test", app_id="shop") as tracker:
            error = raised(lambda: Shop().pay(1))
            event_id = await tracker.track_exception(
                error,
                is_fatal=True,
                context=[Application(version="1.1.0")],
                tstamp=1_700_000_000_123,
                subject=Subject(user_id="ada"),
            ).track_exception(OutOfStockError("shoes"), False)

        assert collector.bad == []
        first, second = sorted(collector.good, key=lambda good: good["event"]["event_id"] == event_id)
    assert first["event"]["event_name"] == "application_error"
    assert first["event"]["user_id"] == "ada"
    assert first["event"]["unstruct_event"]["data"]["data"]["isFatal"] is True
    assert second["event"]["unstruct_event"]["data"]["data"]["isFatal"] is False
    assert second["event"]["event_id"] == event_id


class Request:
    """What must not stay alive."""


def test_neither_the_error_nor_what_its_frames_held_stays_alive() -> None:
    def handle() -> weakref.ref[Request]:
        request = Request()
        try:
            Shop().pay(1)
        except ZeroDivisionError as error:
            tracker.track_nowait(ApplicationError.from_exception(error))
            tracking = tracker.track_exception(error)
            tracking.close()
        return weakref.ref(request)

    tracker = Tracker(emitter := MemoryEmitter())
    gc.disable()
    try:
        kept = handle()
        assert kept() is None
    finally:
        gc.enable()
    assert len(emitter.payloads) == 1
