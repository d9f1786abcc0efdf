"""Searches within a site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from snowplow_aio.model.fields import ABSENT, CAMEL_CASE, Count, OrAbsent, Strings, TextOrBool
from snowplow_aio.model.self_describing import SelfDescribing


class SiteSearch(SelfDescribing, schema="iglu:com.snowplowanalytics.snowplow/site_search/jsonschema/1-0-0"):
    """
    A site was searched.

    Args:
        terms: The words that were searched for; at least one.

        filters: The filters of the search: strings or booleans by name.

        total_results: The number of results, 0 to 2147483647.

        page_results: The number of pages that they fill, 0 to 2147483647.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Track a search for red shoes::

            await tracker.track(SiteSearch(terms=["red", "shoes"], total_results=12))
    """

    model_config: ClassVar[ConfigDict] = CAMEL_CASE

    terms: Annotated[Strings, Field(min_length=1)]
    filters: OrAbsent[Mapping[str, TextOrBool]] = ABSENT
    total_results: OrAbsent[Count] = ABSENT
    page_results: OrAbsent[Count] = ABSENT
