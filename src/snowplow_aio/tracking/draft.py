"""An event that is about to be tracked, as global contexts and enrichers see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeVar

from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.model.atomic import TEXT_LIMITS, URL_PART_LIMITS, exceeds, is_unicode, url_fault
from snowplow_aio.model.payload import Entity, Event
from snowplow_aio.model.primitive_event import PrimitiveEvent
from snowplow_aio.model.self_describing import SelfDescribing, SelfDescribingJson
from snowplow_aio.model.subject import CLEAR, Subject

# What the pipeline calls the events that have protocol fields of their own:
# the names in the columns ``event_vendor`` to ``event_version``.
_PRIMITIVE: Mapping[str, str] = MappingProxyType(
    {
        "pv": "iglu:com.snowplowanalytics.snowplow/page_view/jsonschema/1-0-0",
        "pp": "iglu:com.snowplowanalytics.snowplow/page_ping/jsonschema/1-0-0",
        "se": "iglu:com.google.analytics/event/jsonschema/1-0-0",
        "tr": "iglu:com.snowplowanalytics.snowplow/transaction/jsonschema/1-0-0",
        "ti": "iglu:com.snowplowanalytics.snowplow/transaction_item/jsonschema/1-0-0",
    }
)

_Model = TypeVar("_Model", bound=PrimitiveEvent | SelfDescribing | SelfDescribingJson)


def _no_page() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """
    An event that is about to be tracked.

    Attributes:
        event: The event. A transaction is here without its items, which are events of their own.

        context: Its entities.

        subject: Whom it is about: the subjects of the tracker, of the web request, of
            `use_subject` and of the call, merged. A copy: to change it changes this event alone.

        page: What the web request gives to an event without a page of its own: ``url`` and
            ``refr``, where there are any.

        anonymous: Whether what identifies the user will be left out of the subject;
            entities are sent as they are.

        event_id: Its id.
    """

    event: Event
    context: tuple[Entity, ...]
    subject: Subject
    anonymous: bool
    event_id: str
    page: Mapping[str, str] = field(default_factory=_no_page)

    @property
    def schema(self) -> str:
        """
        The Iglu URI of the event.

        Events with protocol fields of their own have the names that the pipeline
        gives them, like ``iglu:com.snowplowanalytics.snowplow/page_view/jsonschema/1-0-0``.

        Raises InvalidEventError when the event is none.
        """
        schema = schema_of(self.event)
        if schema is None:
            raise InvalidEventError.about("event", self.event, "must be an event with a schema")
        return schema

    def replace(
        self,
        *,
        event: Event | None = None,
        context: Sequence[Entity] | None = None,
        subject: Subject | None = None,
        page: Mapping[str, str] | None = None,
    ) -> Draft:
        """
        Return a draft with another *event*, *context*, *subject* or *page*, each where it is not None.

        Raises InvalidEventError when *page* is none.
        """
        return replace(
            self,
            page=self.page if page is None else _checked_page(page),
            event=self.event if event is None else event,
            context=self.context if context is None else tuple(context),
            subject=self.subject if subject is None else subject,
        )


def schema_of(event: Any) -> str | None:
    """Return the Iglu URI of *event*, or None when it is no event or has none."""
    if isinstance(event, SelfDescribingJson):
        return event.schema
    if isinstance(event, PrimitiveEvent):
        return _PRIMITIVE[event.event_code]
    return getattr(event, "schema_uri", None) if isinstance(event, SelfDescribing) else None


def _checked_page(page: Mapping[str, str]) -> Mapping[str, str]:
    for key, url in page.items():
        rule = "must have the keys 'url' and 'refr' only, with addresses that the pipeline can read"
        is_readable = key in URL_PART_LIMITS and isinstance(url, str) and is_unicode(url)
        if not is_readable or exceeds(url, TEXT_LIMITS[key]) or url_fault(key, url) is not None:
            raise InvalidEventError.about("page", page, rule)
    return MappingProxyType(dict(page))


def changed(model: _Model, /, **fields: Any) -> _Model:
    """
    Return *model*, an event or an entity, with other values in some *fields*.

    The fields of a `SelfDescribingJson` are the members of its data. A field
    becomes `CLEAR` to be left out.

    Raises pydantic.ValidationError when a value breaks a rule of the model, InvalidEventError
    when the data of a `SelfDescribingJson` has no members.
    """
    if isinstance(model, SelfDescribingJson):
        if not isinstance(model.data, Mapping):
            raise InvalidEventError.about("data", model.data, "must be a mapping to be changed by name")
        # Of the same kind: the type is not to be subclassed.
        return type(model)(model.schema, _without_cleared({**model.data, **fields}))
    values = {name: getattr(model, name) for name in model.model_fields_set}
    kind: Any = type(model)
    copy: _Model = kind.model_validate(_without_cleared({**values, **fields}))
    return copy


def _without_cleared(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not CLEAR}
