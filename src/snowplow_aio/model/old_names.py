"""
Names that other Snowplow trackers for Python have, and what does the same here.

They come from ``snowplow-tracker`` 0.x and 1.x and from its ports to asyncio.
Whoever writes one of them gets an error that says the name here: an argument
(`explains_arguments`), an attribute (`OldAttributes`) or an import.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import wraps
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

_SUBJECT_SETTERS = (
    "ip_address", "useragent", "domain_user_id", "network_user_id", "user_id", "screen_resolution",
    "viewport", "color_depth", "timezone", "lang", "platform", "domain_session_id", "domain_session_index",
)  # fmt: skip

PACKAGE_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AsyncEmitter": "HttpEmitter, which never blocks",
        "AsyncTracker": "Tracker",
        "BaseEmitter": "Emitter",
        "EmitterConfiguration": "the keywords of HttpEmitter",
        "TrackerConfiguration": "the keywords of Tracker",
        "Snowplow": "create_tracker, get_tracker and remove_tracker of snowplow_aio.registry",
        "InMemoryEventStore": "MemoryStore",
        "EventStore": "snowplow_aio.abc.EventStore, or MemoryStore",
        "RedisWorker": "snowplow_aio.worker.RedisWorker",
        "SelfDescribingEvent": "SelfDescribing or SelfDescribingJson",
        "StructEvent": "StructuredEvent",
        "disable_contracts": "disable_validation",
        "enable_contracts": "enable_validation",
        "logger": 'the logger "snowplow_aio" of logging',
    }
)
"""Classes and functions of the packages."""

ARGUMENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # of emitters
        "buffer_size": "batch_size",
        "buffer_capacity": "store=MemoryStore(capacity=...)",
        "event_store": "store",
        "thread_count": "max_connections",
        "max_retry_delay_seconds": "retry=Retry(max_delay=...)",
        "custom_retry_codes": "retry=Retry(retry_codes=...)",
        "timeout": "request_timeout",
        "flush_timer": "flush_interval",
        "https": 'protocol="https"',
        "rdb": "client",
        "dbr": "client",
        # of trackers and tracking methods
        "emitter": "emitters, the first argument",
        "base64": "encode_base64",
        "contexts": "context",
        "event_subject": "subject",
        "order_id": "id_",
        "id": "id_",
        "property": "property_",
        "type": "type_",
        "timestamp": "tstamp",
        "dtm": "tstamp",
        "ttm": "true_timestamp",
        "url": "page_url",
        "title": "page_title",
        "referer": "referrer",
        "refr": "referrer",
        "href": "target_url",
        "self_describing_json": "event_json",
    }
)
"""Arguments of emitters, trackers, events and tracking methods."""

METHODS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cancel_flush": "cancel_flush_timer()",
        "sync_flush": "await flush()",
        "async_flush": "await flush(wait=False)",
        "close": "await aclose()",
        "get_subject": "the attribute subject",
        "get_namespace": "the attribute namespace",
        "track_unstructured_event": "track_self_describing_event()",
        "track_structured_event": "track_struct_event()",
        **{f"set_{name}": f"tracker.subject.set_{name}()" for name in _SUBJECT_SETTERS},
    }
)
"""Methods of emitters, trackers and subjects."""


def new_name(old: str, table: Mapping[str, str], known: Container[str] = ()) -> str | None:
    """
    Return what to use instead of the name *old*, or None if it is in no other tracker.

    Args:
        old: The name, as it was written. One in camel case is found by its words.

        table: The names that can be meant.

        known: The names that can be used where it was written.
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", old).lower()
    for name in (words, f"{words}_"):
        if name != old and name in known:
            return name
    return table.get(old) or table.get(words)


def refuse_unknown(function: str, given: Iterable[str], known: Container[str]) -> None:
    """
    Refuse arguments that *function* does not have.

    Raises:
        TypeError: If an argument in *given* is not *known*. The error says the name here if it is an old one.
    """
    for name in given:
        if name not in known:
            advice = new_name(name, ARGUMENTS, known)
            raise TypeError(f"{function}() has no argument {name!r}{f': use {advice}' if advice else ''}")


def explains_arguments(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Have a call of *function* with arguments that it does not take say which it does take."""

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            trace = error.__traceback__
            # An error that was raised within the function has that as its next frame.
            _explain(function, args, kwargs, was_called=trace is not None and trace.tb_next is not None)
            raise

    return call


def _explain(
    function: Callable[..., Any], args: Sequence[object], kwargs: Mapping[str, object], *, was_called: bool
) -> None:
    parameters = inspect.signature(function).parameters
    # A constructor is known by the class that is made.
    name = type(args[0]).__name__ if function.__name__ == "__init__" else function.__name__
    takes_others = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    # A keyword that a method passes on is wrong if it has another name there.
    old = [word for word in kwargs if not takes_others or new_name(word, ARGUMENTS, parameters) in parameters]
    refuse_unknown(name, old, parameters)
    first = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if not was_called and len(args) > len(first):
        named = ", ".join(f"{p.name}=" for p in parameters.values() if p.kind is p.KEYWORD_ONLY)
        taken = " and ".join(first[1:]) or "nothing"
        raise TypeError(f"{name}() takes {taken} by position; everything else is given by name: {named}")


class OldAttributes:
    """Has the error about a missing attribute say the name here, if it is an old one."""

    __slots__ = ()

    if not TYPE_CHECKING:
        # A type checker would take every name.

        def __getattr__(self, name: str) -> Any:
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            advice = None if name.startswith("_") else new_name(name, METHODS, dir(type(self)))
            raise AttributeError(f"{message}: use {advice}" if advice else message, name=name, obj=self)
