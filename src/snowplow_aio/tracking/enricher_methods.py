"""What a tracker does with global contexts and enrichers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from snowplow_aio.tracking.enricher_chain import EnricherChain, EnrichmentStats
from snowplow_aio.tracking.enrichers import Enricher, EnrichFunction, OnFault
from snowplow_aio.tracking.global_contexts import ContextSource, GlobalContext, Rules
from snowplow_aio.tracking.payload_builder import PayloadBuilder


class Enriched:
    """A tracker's part that has to do with global contexts and enrichers; `Tracker` has these methods."""

    _enrichment: EnricherChain
    _has_functions: bool

    def _enrich_with(
        self,
        encoder: PayloadBuilder,
        *,
        is_anonymous: bool,
        clock: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._enrichment = EnricherChain(encoder, is_anonymous=is_anonymous, clock=clock, new_id=new_id)
        # Looked at for each event: what costs something begins with the first function.
        self._has_functions = False

    def add_global_context(
        self, context: ContextSource, *, include: Rules = None, exclude: Rules = None
    ) -> Self:
        """
        Have entities go with every event, from now on. Returns the tracker.

        They stand behind those of the call and those of `use_context`. A function
        that fails is counted, and the event goes without its entities.

        Args:
            context: An entity, a list of them, or a plain or a coroutine function of
                a `Draft` that returns an entity, a list of them or None. A coroutine
                function is called when the event is awaited, for up to one second.

            include: A rule, or a list of rules, on the Iglu URIs of events, of which
                one must match: ``iglu:com.acme/*/jsonschema/1-*-*``; None for all events.

            exclude: Rules of which none may match.

        Raises ConfigurationError when one of them is something else,
        InvalidEventError when the entities cannot be sent.
        """
        self._enrichment.add_context(GlobalContext(context, include=include, exclude=exclude))
        self._has_functions = True
        return self

    def add_enricher(
        self,
        enricher: EnrichFunction,
        *,
        include: Rules = None,
        exclude: Rules = None,
        on_fault: OnFault = "keep",
    ) -> Self:
        """
        Have every event go through a function, from now on. Returns the tracker.

        Enrichers run after all global contexts, in the order in which they were added.

        Args:
            enricher: A plain or a coroutine function of a `Draft` that returns it,
                another one, or None for an event that is not to be tracked. A coroutine
                function is called when the event is awaited, for up to one second.

            include: A rule, or a list of rules, on the Iglu URIs of events, of which
                one must match; None for all events.

            exclude: Rules of which none may match.

            on_fault: What becomes of an event when the function fails: ``keep``
                tracks it as it was before, ``drop`` does not track it. Either is counted.

        Raises ConfigurationError when one of them is something else.
        """
        added = Enricher(enricher, include=include, exclude=exclude, on_fault=on_fault)
        self._enrichment.add_enricher(added)
        self._has_functions = True
        return self

    def enrichment_stats(self) -> EnrichmentStats:
        """Return what global contexts and enrichers have done; cheap and never waits."""
        return self._enrichment.stats()
