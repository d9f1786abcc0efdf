"""The options that the integrations share."""

from __future__ import annotations

from typing import Unpack

from snowplow_aio.integrations.life_cycle import LifeCycle, TrackerSource
from snowplow_aio.integrations.page_views import PageViews
from snowplow_aio.integrations.per_process import BlockingTrackerSource, TrackerPerProcess
from snowplow_aio.integrations.request_errors import RequestErrors
from snowplow_aio.integrations.visitor import VisitorOptions, VisitorPolicy
from snowplow_aio.model.arguments import check_argument


class SetupOptions(VisitorOptions, total=False):
    """
    The options of an integration: these four, and those of `VisitorOptions`.

    Args:
        platform: The platform code of events for which neither the tracker nor a subject
            has one; None to leave it to the tracker. The default is ``srv``.

        timeout: Seconds that closing the tracker takes at most, at least 0; None, the default,
            for the `drain_timeout` of its emitters.

        page_views: Which requests are tracked as page views: a `PageViews`, or True for its defaults.
            None or False, the default, for no request.

        errors: Whether exceptions that a request raises are tracked, as `ApplicationError`: those
            that nobody handles, and those that the application answers with a status of 500 or more.
            The default is False.

    Example:
        >>> options = SetupOptions(timeout=5, page_views=PageViews(), privacy_signals=False)
        >>> app.add_middleware(SnowplowMiddleware, tracker=make_tracker, **options)
    """

    platform: str | None
    timeout: float | None
    page_views: PageViews | bool | None
    errors: bool


class Setup:
    """
    The options of an integration, checked.

    Attributes:
        policy: How visitors are recognised.

        page_views: Which requests are tracked as page views, or None.

        errors: Tracks the errors of requests, or None.

    Raises:
        ConfigurationError: If an option has the wrong type or an unknown value.
    """

    def __init__(
        self,
        *,
        platform: str | None = "srv",
        timeout: float | None = None,
        page_views: PageViews | bool | None = None,
        errors: bool = False,
        **options: Unpack[VisitorOptions],
    ) -> None:
        if isinstance(page_views, bool):
            page_views = PageViews() if page_views else None
        is_choice = page_views is None or isinstance(page_views, PageViews)
        check_argument(is_choice, "page_views", page_views, "must be a PageViews, True, False or None")
        self.page_views: PageViews | None = page_views
        check_argument(isinstance(errors, bool), "errors", errors, "must be True or False")
        self.errors: RequestErrors | None = RequestErrors() if errors else None
        self.policy: VisitorPolicy = VisitorPolicy(**options)
        self._platform = platform
        self._timeout = timeout

    def life_cycle(self, tracker: TrackerSource) -> LifeCycle:
        """
        Return the life cycle of *tracker* with these options.

        Raises:
            ConfigurationError: If *tracker* or `timeout` is not allowed.
            InvalidEventError: If `platform` is no platform code.
        """
        return LifeCycle(tracker, platform=self._platform, timeout=self._timeout)

    def per_process(self, tracker: BlockingTrackerSource) -> TrackerPerProcess:
        """
        Return the blocking *tracker* of each process, with these options.

        Raises:
            ConfigurationError: If *tracker* or `timeout` is not allowed.
            InvalidEventError: If `platform` is no platform code.
        """
        return TrackerPerProcess(tracker, platform=self._platform, timeout=self._timeout)
