"""
Settings from environment variables, for the programs that deliver.

Nothing else in this package reads the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError, WrapValidator
from pydantic_core import PydanticCustomError

# A dependency of pydantic, which before Python 3.12 does not read the standard library's TypedDict.
from typing_extensions import TypedDict

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.runtime.foreign_text import masked

REDIS_URL = "redis://127.0.0.1:6379/0"


def _rule(rule: str, *, is_secret: bool = False) -> WrapValidator:
    """Return a validator that says *rule*, whatever pydantic has to say about a value."""

    def check(value: Any, validate: Any) -> Any:
        try:
            return validate(value)
        except ValueError:
            raise PydanticCustomError("secret" if is_secret else "rule", rule) from None  # pyright: ignore[reportArgumentType]

    return WrapValidator(check)


def _plain(text: str) -> str:
    if text != text.strip() or not text.isprintable():
        raise ValueError
    return text


def _absolute(url: str) -> str:
    scheme, _, rest = url.partition("://")
    if not (scheme and rest):
        raise ValueError
    return url


def _digits(text: str) -> str:
    if not (text.isascii() and text.isdigit()):
        raise ValueError
    return text


_URL_RULE = "must be a URL that begins with "
# What is wrong with a URL may be that its password stands in the place of the scheme.
_URL = Annotated[str, AfterValidator(_absolute), _rule(f"{_URL_RULE}a scheme", is_secret=True)]
_REDIS_URL = Annotated[
    str,
    Field(pattern="^(redis|rediss|unix)://"),
    AfterValidator(_absolute),
    _rule(f"{_URL_RULE}redis:// or rediss:// or unix://", is_secret=True),
]
_TEXT = Annotated[str, AfterValidator(_plain), _rule("must not have spaces around it")]
_SECONDS = Annotated[float, Field(gt=0, allow_inf_nan=False), _rule("must be seconds, above 0")]
_SECONDS_OR_ZERO = Annotated[float, Field(ge=0, allow_inf_nan=False), _rule("must be seconds, at least 0")]
_PORT = Annotated[int, Field(le=65_535), BeforeValidator(_digits), _rule("must be a port from 0 to 65535")]
# Choices are read in any case: `debug` and `Post` are understood.
_METHOD = Annotated[Literal["post", "get"], BeforeValidator(str.lower), _rule("must be one of post, get")]
_MODE = Annotated[Literal["list", "stream"], BeforeValidator(str.lower), _rule("must be one of list, stream")]
_LEVEL = Annotated[
    str,
    Field(pattern="^(DEBUG|INFO|WARNING|ERROR|CRITICAL)$"),
    BeforeValidator(str.upper),
    _rule("must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
]


class _Variables(TypedDict, total=False):
    """How the text of each variable is read; the names are those of `Settings`."""

    collector: _TEXT
    method: _METHOD
    redis_url: _REDIS_URL
    redis_key: _TEXT
    redis_mode: _MODE
    takeover_after: _SECONDS
    drain_timeout: _SECONDS_OR_ZERO
    health_host: _TEXT
    health_port: _PORT
    log_level: _LEVEL
    celery_broker_url: _URL
    celery_queue: _TEXT
    celery_delivery_timeout: _SECONDS


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """
    The settings of a worker, from the variables that start with ``SNOWPLOW_``.

    A variable that is empty counts as not set.

    Attributes:
        collector: ``SNOWPLOW_COLLECTOR``: the collector's host or HTTP URL.

        method: ``SNOWPLOW_METHOD``: ``post`` or ``get``.

        redis_url: ``SNOWPLOW_REDIS_URL``: the URL of the Redis that holds the events.

        redis_key: ``SNOWPLOW_REDIS_KEY``: the key of the list or stream.

        redis_mode: ``SNOWPLOW_REDIS_MODE``: ``list`` or ``stream``.

        takeover_after: ``SNOWPLOW_TAKEOVER_AFTER``: seconds, above 0, after which the events
            of a worker that has fallen silent are given to others.

        drain_timeout: ``SNOWPLOW_DRAIN_TIMEOUT``: seconds, at least 0, for which a worker goes on
            delivering after it was told to stop.

        health_host: ``SNOWPLOW_HEALTH_HOST``: the address of the health endpoint.

        health_port: ``SNOWPLOW_HEALTH_PORT``: its port, 0 to 65535; None for no endpoint.

        log_level: ``SNOWPLOW_LOG_LEVEL``: ``DEBUG``, ``INFO``, ``WARNING``, ``ERROR`` or ``CRITICAL``.

        celery_broker_url: ``SNOWPLOW_CELERY_BROKER_URL``: the URL of Celery's broker; None
            for the broker in Celery's own configuration.

        celery_queue: ``SNOWPLOW_CELERY_QUEUE``: the queue of the batches of events.

        celery_delivery_timeout: ``SNOWPLOW_CELERY_DELIVERY_TIMEOUT``: seconds, above 0, for
            which one task tries to deliver before it leaves the rest to a later one.

    Example:
        >>> Settings(collector="https://collector.example.com", celery_queue="events").method
        'post'
    """

    collector: str | None = None
    method: Literal["post", "get"] = "post"
    redis_url: str = REDIS_URL
    redis_key: str = "snowplow"
    redis_mode: Literal["list", "stream"] = "list"
    takeover_after: float = 30.0
    drain_timeout: float = 5.0
    health_host: str = "127.0.0.1"
    health_port: int | None = None
    log_level: str = "INFO"
    celery_broker_url: str | None = None
    celery_queue: str = "snowplow"
    celery_delivery_timeout: float = 10.0

    def __repr__(self) -> str:
        # URLs may have a password in them.
        shown = (f"{field.name}={masked(repr(getattr(self, field.name)))}" for field in fields(self))
        return f"Settings({', '.join(shown)})"

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """
        Return the settings that *environ* has.

        Raises:
            ConfigurationError: If a value is malformed. The message names the variable.
        """
        variables = {name: f"SNOWPLOW_{name.upper()}" for name in _Variables.__annotations__}
        given = {name: text for name, variable in variables.items() if (text := environ.get(variable))}
        try:
            return cls(**TypeAdapter(_Variables).validate_python(given))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            shown = "***" if first["type"] == "secret" else first["input"]
            variable = variables[str(first["loc"][0])]
            raise ConfigurationError.about(variable, shown, first["msg"]) from None


def starts_as_copy(environ: Mapping[str, str] = os.environ) -> bool:
    """
    Return whether this process may be one of many copies of a process that has run before.

    AWS Lambda starts functions so that have SnapStart, and says it in a variable of *environ*.
    """
    return environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
