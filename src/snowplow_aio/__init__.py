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
    from snowplow_aio.celery.emitter import CeleryEmitter
    from snowplow_aio.delivery.memory_store import MemoryStore
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
    from snowplow_aio.http.emitter import HttpEmitter
    from snowplow_aio.local.console import ConsoleEmitter
    from snowplow_aio.local.file import FileEmitter
    from snowplow_aio.local.memory import MemoryEmitter
    from snowplow_aio.model.payload import Payload
    from snowplow_aio.model.schema_key import SchemaKey
    from snowplow_aio.model.self_describing import SelfDescribing, SelfDescribingJson
    from snowplow_aio.model.subject import CLEAR, Subject
    from snowplow_aio.model.timestamps import DeviceTimestamp, TrueTimestamp
    from snowplow_aio.model.validation import disable_validation, enable_validation
    from snowplow_aio.one_shot import track_once
    from snowplow_aio.outcomes import Delivered, Dropped, EmitterStats, FlushResult, Health, Rejected, Retried
    from snowplow_aio.policies import Overflow, Retry
    from snowplow_aio.redis.emitter import RedisEmitter
    from snowplow_aio.redis.list_store import RedisListStore
    from snowplow_aio.redis.stream_store import RedisStreamStore
    from snowplow_aio.tracking.draft import Draft, changed
    from snowplow_aio.tracking.scope import current_subject, use_context, use_subject
    from snowplow_aio.tracking.tracker import Tracker
    from snowplow_aio.version import __version__

_MODULES = {
    "abc": ("Emitter",),
    "celery.emitter": ("CeleryEmitter",),
    "local.console": ("ConsoleEmitter",),
    "local.file": ("FileEmitter",),
    "http.emitter": ("HttpEmitter",),
    "local.memory": ("MemoryEmitter",),
    "redis.emitter": ("RedisEmitter",),
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
    "model.schema_key": ("SchemaKey",),
    "outcomes": ("Delivered", "Dropped", "EmitterStats", "FlushResult", "Health", "Rejected", "Retried"),
    "model.payload": ("Payload",),
    "policies": ("Overflow", "Retry"),
    "model.self_describing": ("SelfDescribing", "SelfDescribingJson"),
    "one_shot": ("track_once",),
    "delivery.memory_store": ("MemoryStore",),
    "redis.list_store": ("RedisListStore",),
    "redis.stream_store": ("RedisStreamStore",),
    "model.subject": ("CLEAR", "Subject"),
    "tracking.scope": ("current_subject", "use_context", "use_subject"),
    "model.timestamps": ("DeviceTimestamp", "TrueTimestamp"),
    "tracking.draft": ("Draft", "changed"),
    "tracking.tracker": ("Tracker",),
    "model.validation": ("disable_validation", "enable_validation"),
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
    "Draft",
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
    "changed",
    "current_subject",
    "disable_validation",
    "enable_validation",
    "track_once",
    "use_context",
    "use_subject",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        _refuse_old(name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def _refuse_old(name: str) -> None:
    """Refuse a *name* that another tracker has. For an AttributeError, `from ... import` says only that."""
    if not name.startswith("_"):
        from snowplow_aio.model.old_names import PACKAGE_NAMES, new_name  # noqa: PLC0415 - after a mistake only

        advice = new_name(name, PACKAGE_NAMES, _MODULE_OF)
        if advice is not None:
            raise ImportError(f"snowplow_aio has no {name!r}: use {advice}", name=__name__)


def __dir__() -> list[str]:
    return sorted(__all__)
