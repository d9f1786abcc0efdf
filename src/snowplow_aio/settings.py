"""What the environment says: the settings of the programs that deliver. Nothing else reads it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from snowplow_aio.exceptions import ConfigurationError

REDIS_URL = "redis://127.0.0.1:6379/0"

Parse = Callable[[str, str], object]


def _require(valid: bool, variable: str, value: object, rule: str) -> None:  # noqa: FBT001 - an assertion
    if not valid:
        raise ConfigurationError.about(variable, value, rule)


def _text(variable: str, text: str) -> str:
    _require(text == text.strip() and text.isprintable(), variable, text, "must not have spaces around it")
    return text


def _one_of(*choices: str) -> Parse:
    def parse(variable: str, text: str) -> str:
        # As the choices are written, so that `debug` and `Post` are understood.
        value = text.upper() if choices[0].isupper() else text.lower()
        _require(value in choices, variable, text, f"must be one of {', '.join(choices)}")
        return value

    return parse


def _url(*schemes: str) -> Parse:
    def parse(variable: str, text: str) -> str:
        rule = f"must be a URL that begins with {' or '.join(schemes) or 'a scheme'}"
        scheme, separator, rest = text.partition("://")
        known = not schemes or scheme + separator in schemes
        # What is wrong with it may be that a password stands where the scheme should.
        _require(bool(scheme and separator and rest) and known, variable, "***", rule)
        return text

    return parse


def _seconds(*, zero: bool = False) -> Parse:
    def parse(variable: str, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        valid = math.isfinite(value) and (value > 0 or (zero and value == 0))
        _require(valid, variable, text, f"must be seconds, {'at least' if zero else 'above'} 0")
        return value

    return parse


def _port(variable: str, text: str) -> int:
    valid = text.isascii() and text.isdigit() and int(text) <= 65_535
    _require(valid, variable, text, "must be a port from 0 to 65535")
    return int(text)


_PARSERS: Mapping[str, Parse] = {
    "collector": _text,
    "method": _one_of("post", "get"),
    "redis_url": _url("redis://", "rediss://", "unix://"),
    "redis_key": _text,
    "redis_mode": _one_of("list", "stream"),
    "takeover_after": _seconds(),
    "drain_timeout": _seconds(zero=True),
    "health_host": _text,
    "health_port": _port,
    "log_level": _one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    "celery_broker_url": _url(),
    "celery_queue": _text,
    "celery_delivery_timeout": _seconds(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    The settings of a worker, from the variables that start with ``SNOWPLOW_``.

    A variable that is empty counts as not set.

    Attributes:
        collector: ``SNOWPLOW_COLLECTOR``: a host or an HTTP URL.

        method: ``SNOWPLOW_METHOD``: ``post`` or ``get``.

        redis_url: ``SNOWPLOW_REDIS_URL``: of the Redis that holds the events.

        redis_key: ``SNOWPLOW_REDIS_KEY``: the key of the list or stream.

        redis_mode: ``SNOWPLOW_REDIS_MODE``: ``list`` or ``stream``.

        takeover_after: ``SNOWPLOW_TAKEOVER_AFTER``: seconds after which the events of
            a worker that is not heard of are given to others.

        drain_timeout: ``SNOWPLOW_DRAIN_TIMEOUT``: seconds that a worker goes on when it is told to stop.

        health_host: ``SNOWPLOW_HEALTH_HOST``: the address of the health endpoint.

        health_port: ``SNOWPLOW_HEALTH_PORT``: its port; None for no endpoint.

        log_level: ``SNOWPLOW_LOG_LEVEL``: ``DEBUG``, ``INFO``, ``WARNING``, ``ERROR`` or ``CRITICAL``.

        celery_broker_url: ``SNOWPLOW_CELERY_BROKER_URL``: of Celery's broker; None where
            Celery's own configuration says it.

        celery_queue: ``SNOWPLOW_CELERY_QUEUE``: the queue of the batches of events.

        celery_delivery_timeout: ``SNOWPLOW_CELERY_DELIVERY_TIMEOUT``: seconds that one
            task tries to deliver before it leaves what is left to a later one.
    """

    collector: str | None = None
    method: Literal["post", "get"] = "post"
    # They may have a password in them.
    redis_url: str = field(default=REDIS_URL, repr=False)
    redis_key: str = "snowplow"
    redis_mode: Literal["list", "stream"] = "list"
    takeover_after: float = 30.0
    drain_timeout: float = 5.0
    health_host: str = "127.0.0.1"
    health_port: int | None = None
    log_level: str = "INFO"
    celery_broker_url: str | None = field(default=None, repr=False)
    celery_queue: str = "snowplow"
    celery_delivery_timeout: float = 10.0

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """
        Return the settings that *environ* has.

        Raises ConfigurationError when a value is malformed; it names the variable.
        """
        given: dict[str, Any] = {}
        for name, parse in _PARSERS.items():
            variable = f"SNOWPLOW_{name.upper()}"
            if text := environ.get(variable):
                given[name] = parse(variable, text)
        return cls(**given)
