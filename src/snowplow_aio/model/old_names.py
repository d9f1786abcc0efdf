"""
Names that other Snowplow trackers for Python have, and what does the same here.

They come from ``snowplow-tracker`` 0.x and 1.x and from its ports to asyncio.
Whoever writes one of them gets an error that says the name here: an argument
(`explains_arguments`), an attribute (`OldAttributes`) or an import.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Container, Mapping
from functools import wraps
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

_SUBJECT_SETTERS = (
    "ip_address", "useragent", "domain_user_id", "network_user_id", "user_id", "screen_resolution", "viewport",
    "color_depth", "timezone", "lang", "platform", "domain_session_id", "domain_session_index",
)  # fmt: skip

NEW_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        # What the package itself had.
        "AsyncEmitter": "HttpEmitter, which never blocks",
        "AsyncTracker": "Tracker",
        "EmitterConfiguration": "the keywords of HttpEmitter",
        "TrackerConfiguration": "the keywords of Tracker",
        "Snowplow": "snowplow_aio.registry: create_tracker, get_tracker, remove_tracker",
        "InMemoryEventStore": "MemoryStore",
        "EventStore": "snowplow_aio.abc.EventStore, or MemoryStore",
        "RedisWorker": "snowplow_aio.worker.RedisWorker",
        "SelfDescribingEvent": "SelfDescribing or SelfDescribingJson",
        "StructEvent": "StructuredEvent",
        "disable_contracts": "disable_validation",
        "enable_contracts": "enable_validation",
        "logger": 'logging.getLogger("snowplow_aio")',
        # Arguments of emitters.
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
        # Arguments of trackers and of tracking methods.
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
        # Methods.
        "cancel_flush": "cancel_flush_timer",
        "sync_flush": "await flush()",
        "async_flush": "await flush(wait=False)",
        "close": "await aclose()",
        "get_subject": "the attribute subject",
        "get_namespace": "the attribute namespace",
        "track_unstructured_event": "track_self_describing_event",
        "track_structured_event": "track_struct_event",
        **{f"set_{name}": f"tracker.subject.set_{name}" for name in _SUBJECT_SETTERS},
    }
)
"""By old name: what to use here. Names in camel case are found by their words."""


def new_name(old: str, known: Container[str] = ()) -> str | None:
    """
    Return what to use instead of the name *old*, or None if nobody knows it.

    Args:
        old: The name, as it was written.

        known: The names that can be used where it was written.
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", old).lower()
    for name in (words, f"{words}_"):
        if name != old and name in known:
            return name
    return NEW_NAMES.get(old) or NEW_NAMES.get(words)


def refuse_unknown(function: str, given: Mapping[str, object], known: Container[str]) -> None:
    """
    Refuse arguments that *function* does not have.

    Raises:
        TypeError: If an argument in *given* is not *known*. The error says the name here if it is an old one.
    """
    for name in given:
        if name not in known:
            advice = new_name(name, known)
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
            if trace is None or trace.tb_next is None:
                _explain(function, args, kwargs)
            raise

    return call


def _explain(function: Callable[..., Any], args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
    parameters = inspect.signature(function).parameters
    name = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        refuse_unknown(name, kwargs, parameters)
    else:
        for old in kwargs:
            # A tracking method has taken it for one of the arguments that all of them have.
            if old in NEW_NAMES and old not in parameters and NEW_NAMES[old] in parameters:
                refuse_unknown(name, {old: None}, parameters)
    positional = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(args) > len(positional):
        first = " and ".join(positional[1:]) or "nothing"
        named = ", ".join(f"{p.name}=" for p in parameters.values() if p.kind is p.KEYWORD_ONLY)
        raise TypeError(f"{name}() takes {first} by position; everything else is given by name: {named}")


class OldAttributes:
    """Has the error about a missing attribute say the name here, if it is an old one."""

    __slots__ = ()

    if not TYPE_CHECKING:
        # A type checker would take every name.

        def __getattr__(self, name: str) -> Any:
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            advice = None if name.startswith("_") else new_name(name, dir(type(self)))
            raise AttributeError(f"{message}: use {advice}" if advice else message, name=name, obj=self)
