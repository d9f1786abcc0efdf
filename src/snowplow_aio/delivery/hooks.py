"""
Calls of the application's hooks and callbacks; nothing that they do harms the delivery.

A hook may use the emitter that calls it. It may give events back, flush, and
even close. So two kinds of calls come back to us from inside of a hook, and a
context variable says so (`are_calling`): it is set while a hook runs, and thus
in all tasks that the hook starts. First, a hook that tracks into a full store
is not called for the event that is dropped; it would be called for ever.
Second, a close waits for the hooks (`settle`) and then cancels those that take
too long (`end`). If the close is called by a hook, each would wait for the
other. `release_closers` notices that at the call of `aclose`: from then on
neither `settle` nor `end` waits for hooks, also not on behalf of other callers.

A plain function cannot be cancelled, and one that blocks, blocks the loop. During
a close (`hurry`) it is therefore called in a thread, for which the loop waits no
longer than the close may take.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from snowplow_aio.abc import Hook
from snowplow_aio.model.arguments import check_argument
from snowplow_aio.outcomes import Delivered, Dropped, Outcome, Rejected
from snowplow_aio.runtime import losses
from snowplow_aio.runtime.bounded_call import called_in_place
from snowplow_aio.runtime.tasks import start_task
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog, quiet_logger

log: QuietLogger = quiet_logger("snowplow_aio.delivery")

# The most calls that wait while another one takes long, and the most bytes of JSON of their
# events, which they keep in memory. A single call with more is made all the same.
_MOST_STARTED = 1_000
_MOST_BYTES = 8 * 2**20

# A plain function has a moment during a close even if there is no time left at all.
_LEAST_SECONDS = 0.1

OnSuccess = Callable[[int], Awaitable[None] | None]
OnFailure = Callable[[int, "Unsent"], Awaitable[None] | None]


class Unsent(list[dict[str, str]]):
    """
    The events that `on_failure` receives: a list of dicts, with the reason why they were given up.

    Attributes:
        reason: The reason, as in `Rejected` and `Dropped`.

        status: The HTTP status of the last answer, or None if there was none.
    """

    def __init__(self, outcome: Rejected | Dropped) -> None:
        super().__init__(payload.fields() for payload in outcome.payloads)
        self.reason: str = outcome.reason
        self.status: int | None = outcome.status


def success_hook(on_success: OnSuccess) -> Hook:
    """Return the hook that calls *on_success* with the number of delivered events."""

    def hook(outcome: Outcome) -> Awaitable[None] | None:
        return on_success(len(outcome.payloads)) if isinstance(outcome, Delivered) else None

    return hook


def failure_hook(on_failure: OnFailure) -> Hook:
    """Return the hook that calls *on_failure* with the events that were given up."""

    def hook(outcome: Outcome) -> Awaitable[None] | None:
        if isinstance(outcome, Rejected | Dropped):
            return on_failure(0, Unsent(outcome))
        return None

    return hook


def hooks_of(on_success: OnSuccess | None, on_failure: OnFailure | None, hooks: Iterable[Hook]) -> Hooks:
    """
    Return the `Hooks` of an emitter with these callbacks, which are called first.

    Raises:
        ConfigurationError: If one of them is no function.
    """
    for argument, function in (("on_success", on_success), ("on_failure", on_failure)):
        check_argument(function is None or callable(function), argument, function, "must be a function")
    rule = "must be a sequence of functions"
    check_argument(isinstance(hooks, Iterable), "hooks", hooks, rule)
    hooks = tuple(hooks)
    check_argument(all(map(callable, hooks)), "hooks", hooks, rule)
    given = [success_hook(on_success)] if on_success else []
    given += [failure_hook(on_failure)] if on_failure else []
    return Hooks([*given, *hooks])


# The hooks that are running: set while one runs, and so in all tasks that it starts.
_hooks_running: contextvars.ContextVar[Hooks | None] = contextvars.ContextVar(
    "snowplow_aio.delivery.hooks", default=None
)


class Hooks:
    """
    Calls hooks in order. A task awaits the coroutines that they return, one after the other.

    Args:
        hooks: The hooks.

    Attributes:
        errors: Exceptions that they have raised, and calls that were given up because others take too long.
    """

    def __init__(self, hooks: Iterable[Hook]) -> None:
        self._hooks: Sequence[Hook] = tuple(hooks)
        # With the bytes of the events that each keeps.
        self._started: deque[tuple[Awaitable[None], int]] = deque()
        self._started_bytes = 0
        self._runner: asyncio.Task[None] | None = None
        self._is_awaiting_closers = False
        self._released: asyncio.Future[None] | None = None
        # The end of a close that is under way, by the monotonic clock, and the calls by hook that were
        # left alone because they took longer.
        self._ends_at: float | None = None
        self._left_alone: dict[int, Future[Any]] = {}
        self._throttled = ThrottledLog(log)
        self.errors: int = 0

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def call(self, outcome: Outcome) -> None:
        """Call every hook with *outcome*. Never raises."""
        token = _hooks_running.set(self)
        size = sum([payload.size for payload in outcome.payloads])
        try:
            for hook in self._hooks:
                self._call(hook, outcome, size)
        finally:
            _hooks_running.reset(token)
        if self._started:
            self._run()

    def _call(self, hook: Hook, outcome: Outcome, size: int) -> None:
        try:
            result = hook(outcome) if self._ends_at is None else self._result_in_time(hook, outcome)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever the application does
            # A plain function cannot be cancelled: it has asked for the result of a task that was.
            self._failed(error)
        else:
            if inspect.isawaitable(result):
                self._started.append((result, size))
                self._started_bytes += size
                self._skip_oldest()

    def _result_in_time(self, hook: Hook, outcome: Outcome) -> Any:
        """Return what *hook* returns, or None where it blocks the close."""
        loop = asyncio._get_running_loop()  # noqa: SLF001 - public in C, and does not raise
        # A loop in debug mode can only be used in its own thread.
        if loop is None or loop.get_debug() or inspect.iscoroutinefunction(hook):
            return hook(outcome)
        left_alone = self._left_alone.get(id(hook))
        if left_alone is None or left_alone.done():
            seconds = max(_LEAST_SECONDS, (self._ends_at or 0.0) - time.monotonic())
            try:
                called = called_in_place(seconds, partial(hook, outcome))
            except RuntimeError:
                # No thread can be started, as at the very end of the interpreter.
                return hook(outcome)
            self._left_alone[id(hook)] = called
            if called.done():
                return called.result()
        self.errors += 1
        message = "%s: a hook takes too long: the close goes on without it"
        self._throttled.log("blocks", logging.ERROR, message, outcome.emitter)
        losses.say_once("hook", message, outcome.emitter)
        return None

    def _skip_oldest(self) -> None:
        """Give up the calls that have waited longest, as far as too much waits."""
        while len(self._started) > 1 and (
            len(self._started) > _MOST_STARTED or self._started_bytes > _MOST_BYTES
        ):
            _forget(self._next_started())
            self.errors += 1
            message = "hooks take too long: the calls that have waited longest are not made"
            self._throttled.log("slow", logging.ERROR, message)

    def _next_started(self) -> Awaitable[None]:
        started, size = self._started.popleft()
        self._started_bytes -= size
        return started

    def are_calling(self) -> bool:
        """Return whether the caller is one of the hooks, or a task that one of them has started."""
        return _hooks_running.get() is self

    def _failed(self, error: BaseException) -> None:
        self.errors += 1
        self._throttled.log(
            type(error).__name__,
            logging.ERROR,
            "a hook raised %s; the delivery goes on",
            type(error).__name__,
            error=error,
        )

    def _run(self) -> None:
        loop = asyncio._get_running_loop()  # noqa: SLF001 - public in C, and does not raise
        if loop is not None and (self._runner is None or self._runner.done()):
            self._runner = start_task(loop, self._await_started())

    async def _await_started(self) -> None:
        _hooks_running.set(self)
        # An eager task would run the hooks in the middle of the caller's work.
        await asyncio.sleep(0)
        while self._started:
            try:
                await self._next_started()
            except asyncio.CancelledError as error:
                # Either this task was cancelled, or something that the hook has awaited.
                runner = asyncio.current_task()
                if runner is not None and runner.cancelling():
                    raise
                self._failed(error)
            except Exception as error:  # noqa: BLE001 - whatever the application does
                self._failed(error)

    def hurry(self, seconds: float) -> None:
        """From now on until `end`, wait for a plain function no longer than until *seconds* have passed."""
        self._ends_at = time.monotonic() + seconds

    def release_closers(self) -> None:
        """If a hook is the caller, let `settle` and `end` return at once from now on."""
        if self.are_calling():
            self._is_awaiting_closers = True
            if self._released is not None and not self._released.done():
                self._released.set_result(None)

    async def settle(self) -> None:
        """Wait until all hooks have run, unless one of them waits for the caller."""
        while not self._is_awaiting_closers:
            if self._started:
                # The runner may have been cancelled from outside.
                self._run()
            if self._runner is None or self._runner.done():
                return
            self._released = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._runner, self._released], return_when=asyncio.FIRST_COMPLETED)

    async def end(self) -> None:
        """Cancel the hook that is running and forget those that wait, unless one waits for the caller."""
        self._ends_at = None
        if self._is_awaiting_closers:
            return
        while self._started:
            _forget(self._next_started())
        if self._runner is not None and not self._runner.done():
            self._runner.cancel()
            await asyncio.wait([self._runner])

    def abandon(self) -> None:
        """Forget all calls that were started: they belong to a parent process or a dead loop."""
        self._started.clear()
        self._started_bytes = 0
        self._runner = self._ends_at = None
        self._left_alone.clear()
        self._throttled = ThrottledLog(log)


def _forget(unstarted: Awaitable[None]) -> None:
    # Python warns of a coroutine that nobody awaits.
    if inspect.iscoroutine(unstarted):
        unstarted.close()
