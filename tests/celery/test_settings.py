"""Settings from the environment, and the errors for wrong values."""

from __future__ import annotations

import dataclasses

import pytest

from snowplow_aio import ConfigurationError
from snowplow_aio.settings import Settings

_ALL = {
    "SNOWPLOW_COLLECTOR": "collector.example.com",
    "SNOWPLOW_METHOD": "GET",
    "SNOWPLOW_REDIS_URL": "rediss://user:secret@redis.example.com/1",
    "SNOWPLOW_REDIS_KEY": "events",
    "SNOWPLOW_REDIS_MODE": "stream",
    "SNOWPLOW_TAKEOVER_AFTER": "12.5",
    "SNOWPLOW_DRAIN_TIMEOUT": "0",
    "SNOWPLOW_HEALTH_HOST": "0.0.0.0",
    "SNOWPLOW_HEALTH_PORT": "8080",
    "SNOWPLOW_LOG_LEVEL": "debug",
    "SNOWPLOW_CELERY_BROKER_URL": "amqp://user:secret@rabbit.example.com//",
    "SNOWPLOW_CELERY_QUEUE": "events",
    "SNOWPLOW_CELERY_DELIVERY_TIMEOUT": "20",
}


def test_nothing_said_gives_the_defaults() -> None:
    assert Settings.read({"PATH": "/bin", "SNOWPLOW_METHOD": ""}) == Settings()
    assert Settings().collector is None


def test_every_setting_has_a_variable() -> None:
    fields = [field.name for field in dataclasses.fields(Settings)]
    assert [f"SNOWPLOW_{name.upper()}" for name in fields] == list(_ALL)
    assert Settings.read(_ALL) == Settings(
        collector="collector.example.com",
        method="get",
        redis_url="rediss://user:secret@redis.example.com/1",
        redis_key="events",
        redis_mode="stream",
        takeover_after=12.5,
        drain_timeout=0.0,
        health_host="0.0.0.0",
        health_port=8080,
        log_level="DEBUG",
        celery_broker_url="amqp://user:secret@rabbit.example.com//",
        celery_queue="events",
        celery_delivery_timeout=20.0,
    )


def test_passwords_are_not_shown() -> None:
    assert "secret" not in repr(Settings.read(_ALL))


@pytest.mark.parametrize(
    ("variable", "text", "rule"),
    [
        ("SNOWPLOW_COLLECTOR", " a", "must not have spaces around it, got ' a'"),
        ("SNOWPLOW_METHOD", "put", "must be one of post, get, got 'put'"),
        (
            "SNOWPLOW_REDIS_URL",
            "http://user:secret@a",
            "must be a URL that begins with redis:// or rediss:// or unix://, got '***'",
        ),
        ("SNOWPLOW_REDIS_URL", "redis://", "must be a URL that begins with redis://"),
        ("SNOWPLOW_REDIS_MODE", "set", "must be one of list, stream, got 'set'"),
        ("SNOWPLOW_TAKEOVER_AFTER", "0", "must be seconds, above 0, got '0'"),
        ("SNOWPLOW_TAKEOVER_AFTER", "nan", "must be seconds, above 0, got 'nan'"),
        ("SNOWPLOW_DRAIN_TIMEOUT", "-1", "must be seconds, at least 0, got '-1'"),
        ("SNOWPLOW_DRAIN_TIMEOUT", "soon", "must be seconds, at least 0, got 'soon'"),
        ("SNOWPLOW_HEALTH_PORT", "65536", "must be a port from 0 to 65535, got '65536'"),
        ("SNOWPLOW_HEALTH_PORT", "http", "must be a port from 0 to 65535, got 'http'"),
        ("SNOWPLOW_LOG_LEVEL", "loud", "must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL, got 'loud'"),
        ("SNOWPLOW_CELERY_BROKER_URL", "secret", "must be a URL that begins with a scheme, got '***'"),
        ("SNOWPLOW_CELERY_QUEUE", "a\n", "must not have spaces around it"),
        ("SNOWPLOW_CELERY_DELIVERY_TIMEOUT", "inf", "must be seconds, above 0, got 'inf'"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_variable(variable: str, text: str, rule: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Settings.read({variable: text})
    assert str(raised.value).startswith(f"{variable}: {rule}")
