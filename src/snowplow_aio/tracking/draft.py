"""A draft: an event that is about to be tracked, as global contexts and enrichers see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.model.atomic import TEXT_LIMITS, URL_PART_LIMITS, exceeds, is_unicode, url_fault
from snowplow_aio.model.payload import Entity, Event
from snowplow_aio.model.primitive_event import PrimitiveEvent
from snowplow_aio.model.self_describing import SelfDescribing, SelfDescribingJson
from snowplow_aio.model.subject import CLEAR, Subject
from snowplow_aio.runtime.copies import CopiedByFields

_PAGE_KEYS = frozenset({"url", "refr", "page"})

_Model = TypeVar("_Model", bound=PrimitiveEvent | SelfDescribing | SelfDescribingJson)


def _no_page() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft(CopiedByFields):
    """
    An event that is about to be tracked, with its entities and its subject.

    The tracker makes a draft of each event and hands it to the functions of
    `Tracker.add_global_context`, `use_context` and `Tracker.add_enricher`.

    Attributes:
        event: The event. A transaction stands here without its items, which are events of
            their own.

        context: The entities of the event.

        subject: The subject of the event: those of the tracker, of the web request, of
            `use_subject` and of the call, merged. It is a copy, so changing it changes this
            event alone.

        page: The addresses that a web request gives to an event without a page of its own:
            ``url`` and ``refr``, as far as they are known. Of an error of a request, also ``page``,
            the template of its route.

        anonymous: Whether the fields that identify the user will be left out of the subject.
            Entities are sent as they are.

        event_id: The id of the event. It stays the same whatever an enricher returns.

    Example:
        Add an entity to page views, in an enricher::

            def with_experiment(draft: Draft) -> Draft:
                return draft.replace(context=[*draft.context, Experiment(name="blue button")])
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

        Raises:
            InvalidEventError: If `event` is no event, or is of a class without a schema.
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
        Return a draft with other parts; a part that is None stays as it is.

        Args:
            event: The event.

            context: All entities of the event.

            subject: The subject.

            page: The page, with the keys ``url``, ``refr`` and ``page`` only.

        Raises:
            InvalidEventError: If *page* has another key, or a value that the pipeline cannot read.
        """
        return Draft(
            event=self.event if event is None else event,
            context=self.context if context is None else tuple(context),
            subject=self.subject if subject is None else subject,
            anonymous=self.anonymous,
            event_id=self.event_id,
            page=self.page if page is None else _checked_page(page),
        )


def schema_of(event: Any) -> str | None:
    """Return the Iglu URI of *event*, or None if it is no event or has none."""
    if isinstance(event, SelfDescribingJson):
        return event.schema
    is_model = isinstance(event, (PrimitiveEvent, SelfDescribing))
    return getattr(event, "schema_uri", None) if is_model else None


def _checked_page(page: Mapping[str, str]) -> Mapping[str, str]:
    for key, text in page.items():
        rule = "must have the keys 'url', 'refr' and 'page' only, with values that the pipeline can read"
        is_readable = key in _PAGE_KEYS and isinstance(text, str) and is_unicode(text)
        is_address = key in URL_PART_LIMITS
        if not is_readable or exceeds(text, TEXT_LIMITS[key]) or (is_address and url_fault(key, text)):
            raise InvalidEventError.about("page", page, rule)
    return MappingProxyType(dict(page))


def changed(model: _Model, /, **fields: Any) -> _Model:
    """
    Return a copy of an event or an entity with other values in some fields.

    Args:
        model: The event or the entity. It stays as it is.

        **fields: The new values, by field. Of a `SelfDescribingJson`, the fields are
            the members of its data. A field that is set to `CLEAR` is left out.

    Raises:
        pydantic.ValidationError: If a value breaks a rule of the model.
        InvalidEventError: If the data of a `SelfDescribingJson` is no mapping.

    Example:
        Cut the query string off the address of a page view::

            changed(page_view, page_url=page_view.page_url.partition("?")[0])
    """
    if isinstance(model, SelfDescribingJson):
        if not isinstance(model.data, Mapping):
            raise InvalidEventError.about("data", model.data, "must be a mapping to be changed by name")
        # Of the same kind: the type is not to be subclassed.
        return type(model)(model.schema, _without_cleared({**model.data, **fields}))
    kind: Any = type(model)
    # With the defaults that are sent: one that is made by a function would be another one.
    values = {
        name: value
        for name in kind.model_fields
        if (value := getattr(model, name, None)) is not None or name in model.model_fields_set
    }
    copy: _Model = kind.model_validate(_without_cleared({**values, **fields}))
    return copy


def _without_cleared(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not CLEAR}
