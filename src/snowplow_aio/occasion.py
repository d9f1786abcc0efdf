"""
On what occasion events are tracked: a web request, for instance.

What an occasion says holds for every event tracked during it, unless the event
itself or a subject that is nearer says otherwise. It is asked when an event is
tracked, so that one without events costs next to nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Literal

Permission = Literal["all", "anonymous", "nothing"]
"""What may be tracked on an occasion: events, anonymous events, or none."""


class Occasion(ABC):
    """What is known of all events that are tracked now; its methods may be called from any thread."""

    __slots__ = ()

    @abstractmethod
    def permission(self) -> Permission:
        """Return what may be tracked; where it is nothing, `track` does all but hand the event over."""

    @abstractmethod
    def fields(self) -> Mapping[str, str]:
        """
        Return the protocol fields of whom events are about; none of them is empty.

        They stand between the tracker's subject and the one of `use_subject`.
        """

    @abstractmethod
    def page(self) -> Mapping[str, str]:
        """Return ``url`` and ``refr``, where they are known, for events that have none."""


bound_occasion: ContextVar[Occasion | None] = ContextVar("snowplow_aio.occasion", default=None)
