"""The worker that takes events out of Redis and delivers them, at the path that programs import."""

from snowplow_aio.redis.worker import RedisWorker

__all__ = ["RedisWorker"]
