"""
The asyncio-native Snowplow event tracker.

Names are loaded when they are first used, so that importing the package is
cheap and nothing optional is imported by accident.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snowplow_aio.abc import Emitter
    from snowplow_aio.emitters.celery import CeleryEmitter
    from snowplow_aio.emitters.console import ConsoleEmitter
    from snowplow_aio.emitters.file import FileEmitter
    from snowplow_aio.emitters.http import HttpEmitter
    from snowplow_aio.emitters.memory import MemoryEmitter
    from snowplow_aio.emitters.redis import RedisEmitter
    from snowplow_aio.events.cart import AddToCart, RemoveFromCart
    from snowplow_aio.events.ecommerce import EcommerceTransaction, EcommerceTransactionItem
    from snowplow_aio.events.error import ApplicationError
    from snowplow_aio.events.form import FormChange, FormElement, FormSubmit
    from snowplow_aio.events.link import LinkClick
    from snowplow_aio.events.page import PageView
    from snowplow_aio.events.ping import PagePing
    from snowplow_aio.events.screen import MobileScreenView, ScreenView
    from snowplow_aio.events.search import SiteSearch
    from snowplow_aio.events.structured import StructuredEvent
    from snowplow_aio.exceptions import (
        ConfigurationError,
        DeliveryError,
        InvalidEventError,
        QueueFullError,
        SnowplowError,
    )
    from snowplow_aio.global_contexts import use_context
    from snowplow_aio.iglu import SchemaKey
    from snowplow_aio.outcomes import Delivered, Dropped, EmitterStats, FlushResult, Health, Rejected, Retried
    from snowplow_aio.payload import Payload
    from snowplow_aio.policies import Overflow, Retry
    from snowplow_aio.self_describing import SelfDescribing
    from snowplow_aio.self_describing_json import SelfDescribingJson
    from snowplow_aio.single_event import track_once
    from snowplow_aio.stores.memory import MemoryStore
    from snowplow_aio.stores.redis_list import RedisListStore
    from snowplow_aio.stores.redis_stream import RedisStreamStore
    from snowplow_aio.subject import CLEAR, Subject, current_subject, use_subject
    from snowplow_aio.timestamps import DeviceTimestamp, TrueTimestamp
    from snowplow_aio.tracker import Tracker
    from snowplow_aio.validation import disable_validation, enable_validation
    from snowplow_aio.version import __version__

_MODULES = {
    "abc": ("Emitter",),
    "emitters.celery": ("CeleryEmitter",),
    "emitters.console": ("ConsoleEmitter",),
    "emitters.file": ("FileEmitter",),
    "emitters.http": ("HttpEmitter",),
    "emitters.memory": ("MemoryEmitter",),
    "emitters.redis": ("RedisEmitter",),
    "events.cart": ("AddToCart", "RemoveFromCart"),
    "events.ecommerce": ("EcommerceTransaction", "EcommerceTransactionItem"),
    "events.error": ("ApplicationError",),
    "events.form": ("FormChange", "FormElement", "FormSubmit"),
    "events.link": ("LinkClick",),
    "events.page": ("PageView",),
    "events.ping": ("PagePing",),
    "events.screen": ("MobileScreenView", "ScreenView"),
    "events.search": ("SiteSearch",),
    "events.structured": ("StructuredEvent",),
    "exceptions": (
        "ConfigurationError",
        "DeliveryError",
        "InvalidEventError",
        "QueueFullError",
        "SnowplowError",
    ),
    "global_contexts": ("use_context",),
    "iglu": ("SchemaKey",),
    "outcomes": ("Delivered", "Dropped", "EmitterStats", "FlushResult", "Health", "Rejected", "Retried"),
    "payload": ("Payload",),
    "policies": ("Overflow", "Retry"),
    "self_describing": ("SelfDescribing",),
    "self_describing_json": ("SelfDescribingJson",),
    "single_event": ("track_once",),
    "stores.memory": ("MemoryStore",),
    "stores.redis_list": ("RedisListStore",),
    "stores.redis_stream": ("RedisStreamStore",),
    "subject": ("CLEAR", "Subject", "current_subject", "use_subject"),
    "timestamps": ("DeviceTimestamp", "TrueTimestamp"),
    "tracker": ("Tracker",),
    "validation": ("disable_validation", "enable_validation"),
    "version": ("__version__",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "CLEAR",
    "AddToCart",
    "ApplicationError",
    "CeleryEmitter",
    "ConfigurationError",
    "ConsoleEmitter",
    "Delivered",
    "DeliveryError",
    "DeviceTimestamp",
    "Dropped",
    "EcommerceTransaction",
    "EcommerceTransactionItem",
    "Emitter",
    "EmitterStats",
    "FileEmitter",
    "FlushResult",
    "FormChange",
    "FormElement",
    "FormSubmit",
    "Health",
    "HttpEmitter",
    "InvalidEventError",
    "LinkClick",
    "MemoryEmitter",
    "MemoryStore",
    "MobileScreenView",
    "Overflow",
    "PagePing",
    "PageView",
    "Payload",
    "QueueFullError",
    "RedisEmitter",
    "RedisListStore",
    "RedisStreamStore",
    "Rejected",
    "RemoveFromCart",
    "Retried",
    "Retry",
    "SchemaKey",
    "ScreenView",
    "SelfDescribing",
    "SelfDescribingJson",
    "SiteSearch",
    "SnowplowError",
    "StructuredEvent",
    "Subject",
    "Tracker",
    "TrueTimestamp",
    "__version__",
    "current_subject",
    "disable_validation",
    "enable_validation",
    "track_once",
    "use_context",
    "use_subject",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
