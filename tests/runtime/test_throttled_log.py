"""One line a minute of each kind, whoever logs, and with the number of its causes."""

from __future__ import annotations

import logging
import threading

import pytest

from snowplow_aio.runtime import throttled_log
from snowplow_aio.runtime.throttled_log import ThrottledLog, quiet_logger
from tests.delivery.interrupting import interrupted, uninterrupted

LOGGER = quiet_logger("snowplow_aio.test")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def minutes(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list whose only item is the time."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_each_kind_is_said_once_a_minute_with_its_number(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    throttled, now = ThrottledLog(LOGGER), minutes(monkeypatch)
    for kind in ("a", "a", "b", "a"):
        throttled.log(kind, logging.ERROR, "%s", kind)
    now[0] = 60.0
    throttled.log("a", logging.ERROR, "%s", "a", count=5)
    assert said(caplog) == [f"{line} since the last such line)" for line in ("a (1", "b (1", "a (7")]


def test_kinds_that_others_name_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    throttled = ThrottledLog(LOGGER)
    for number in range(10_000):
        throttled.log(f"status {number}", logging.ERROR, "%d", number)
    assert len(caplog.records) <= 101


def test_a_handler_of_the_log_that_comes_back_is_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    throttled, now = ThrottledLog(LOGGER), minutes(monkeypatch)

    class ComesBack(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            throttled.log("a", logging.ERROR, "again")

    handler = ComesBack()
    LOGGER.logger.addHandler(handler)
    try:
        throttled.log("a", logging.ERROR, "first")
        now[0] = 60.0
        throttled.log("a", logging.ERROR, "second")
    finally:
        LOGGER.logger.removeHandler(handler)
    assert said(caplog) == ["first (1 since the last such line)", "second (2 since the last such line)"]


def test_no_count_is_lost_to_a_signal_handler(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    throttled, now = ThrottledLog(LOGGER), minutes(monkeypatch)
    calls = 0

    def interrupt() -> None:
        nonlocal calls
        calls += 1
        with uninterrupted():
            throttled.log("a", logging.ERROR, "interrupting")

    with interrupted(interrupt, throttled_log, depth=1):
        for _ in range(10):
            throttled.log("a", logging.ERROR, "interrupted")
    now[0] = 60.0
    throttled.log("a", logging.ERROR, "last")
    counts = [record.args[-1] for record in caplog.records if isinstance(record.args, tuple)]
    assert sum(count for count in counts if isinstance(count, int)) == calls + 11


def test_threads_say_it_once(caplog: pytest.LogCaptureFixture) -> None:
    throttled, together = ThrottledLog(LOGGER), threading.Barrier(8)

    def log() -> None:
        together.wait()
        for _ in range(200):
            throttled.log("a", logging.ERROR, "a")

    threads = [threading.Thread(target=log) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(caplog.records) == 1
