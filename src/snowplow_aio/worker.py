"""A worker: takes events out of Redis and delivers them."""

from snowplow_aio.redis.worker import RedisWorker

__all__ = ["RedisWorker"]
