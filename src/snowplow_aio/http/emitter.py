"""`HttpEmitter`: a memory store, the delivery loop and HTTP to a collector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from snowplow_aio.abc import Hook, LocalStore
from snowplow_aio.delivery.emitter import BufferedEmitter
from snowplow_aio.delivery.hooks import OnFailure, OnSuccess
from snowplow_aio.http.collector import Collector
from snowplow_aio.http.headers import MAX_HEADERS_BYTES
from snowplow_aio.http.transport import HttpTransport
from snowplow_aio.model.arguments import check_argument, check_count
from snowplow_aio.model.atomic import MAX_RECORD_BYTES
from snowplow_aio.policies import Batching, Retry

if TYPE_CHECKING:
    import ssl as ssl_module

    import aiohttp

# The largest body that every sink of the collector stores whole. It splits a larger
# request or loses it, and answers 200 all the same. The headers and what the collector
# adds count too (docs/explanation/protocol.md, "The collector: requests, sizes and answers").
MAX_REQUEST_BYTES = MAX_RECORD_BYTES - MAX_HEADERS_BYTES - 2_048

# The field's defaults: one event by GET, fifty by POST.
_BATCH_SIZES = {"get": 1, "post": 50}


class HttpEmitter(BufferedEmitter):
    """
    Sends events to a Snowplow collector.

    Events wait in memory and are sent in batches by a background task.

    Args:
        endpoint: The collector's host, or its ``http`` or ``https`` URL. Either may
            have a port and a path prefix.

        method: ``post``, or ``get`` for one event per request.

        protocol: ``http`` or ``https``, for an endpoint that is a host; None for ``https``.

        port: The port, 1 to 65535, for an endpoint that has none.

        post_path: The path for batches, two segments; None for the collector's own.

        headers: Headers for every request, at most 4,096 bytes in all; not ``Content-Type``, nor
            one that says how a request travels, such as ``Content-Length`` or ``Connection``.

        session: The application's own aiohttp session, which stays open; None to make one. Its headers,
            proxy, connector, traces and middlewares are used. Its time-outs and its rules for redirects,
            statuses and compressed answers are not, and a cookie of the collector is not kept.

        ssl: True, False or an `ssl.SSLContext`, as in aiohttp.

        proxy: The URL of an HTTP proxy; None for the one that the environment names.

        trust_env: Whether ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` are read.
            ``~/.netrc`` never is. A *session* has its own setting.

        request_timeout: Seconds for one request, above 0.

        batch_size: Number of waiting events that triggers sending, from 1;
            None for 50 with POST and 1 with GET.

        max_batch: Most events in one POST, from 1. So many waiting events are sent in any case.

        byte_limit: Most bytes of one POST, wrapper included, 1 to 993,856. An
            event that is larger travels alone.

        flush_interval: Seconds after which a waiting event is sent in any case, above 0; None for never.

        max_connections: Most requests at the same time, from 1. Connections are opened
            only as the backlog requires.

        retry: When failed requests are repeated; None for `Retry()`.

        store: Where events wait; None for a `MemoryStore`.

        on_success: Called with the number of events in each request that was taken.

        on_failure: Called with 0 and the events, as dicts, that were given up.

        hooks: Called with every outcome.

        drain_timeout: Seconds that `aclose` takes at most if it is not given a timeout, at least 0.

        name: The emitter's name in statistics and logs.

    Raises:
        ConfigurationError: If an argument is malformed, out of range, or contradicts another.

    Example:
        >>> emitter = HttpEmitter("https://collector.example.com", batch_size=10)
    """

    def __init__(
        self,
        endpoint: str,
        *,
        method: Literal["get", "post"] = "post",
        protocol: Literal["http", "https"] | None = None,
        port: int | None = None,
        post_path: str | None = None,
        headers: Mapping[str, str] | None = None,
        session: aiohttp.ClientSession | None = None,
        ssl: bool | ssl_module.SSLContext = True,
        proxy: str | None = None,
        trust_env: bool = True,
        request_timeout: float = 10.0,
        batch_size: int | None = None,
        max_batch: int = 500,
        byte_limit: int = 500_000,
        flush_interval: float | None = 1.0,
        max_connections: int = 16,
        retry: Retry | None = None,
        store: LocalStore | None = None,
        on_success: OnSuccess | None = None,
        on_failure: OnFailure | None = None,
        hooks: Iterable[Hook] = (),
        drain_timeout: float = 5.0,
        name: str = "http",
    ) -> None:
        check_count("max_connections", max_connections)
        check_count("byte_limit", byte_limit, most=MAX_REQUEST_BYTES)
        check_argument(method in ("post", "get"), "method", method, "must be 'post' or 'get'")
        transport = HttpTransport(
            Collector.at(endpoint, protocol=protocol, port=port, post_path=post_path),
            method=method,
            headers=headers,
            session=session,
            ssl=ssl,
            proxy=proxy,
            trust_env=trust_env,
            request_timeout=request_timeout,
            connections=max_connections,
        )
        batching = Batching(
            batch_size=_BATCH_SIZES[method] if batch_size is None else batch_size,
            max_batch=max_batch,
            byte_limit=byte_limit,
            flush_interval=flush_interval,
            max_connections=max_connections,
        )
        super().__init__(
            transport,
            batching=batching,
            retry=retry,
            store=store,
            on_success=on_success,
            on_failure=on_failure,
            hooks=hooks,
            drain_timeout=drain_timeout,
            name=name,
        )

    @property
    def waits_for(self) -> str:
        """What the latest request waits or waited for, such as ``connection to h.example``; or nothing."""
        return self._transport.waits_for if isinstance(self._transport, HttpTransport) else ""
