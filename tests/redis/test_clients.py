"""Every kind of client of redis.asyncio, whose settings the emitter uses for connections of its own."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import trustme
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialBackoff
from redis.crc import key_slot

from snowplow_aio import ConfigurationError, RedisEmitter, RedisListStore, RedisStreamStore, Tracker
from snowplow_aio.redis.connections import beside
from snowplow_aio.redis.worker import RedisWorker
from snowplow_aio.settings import Settings
from tests.collector import running_collector
from tests.ports import held_port
from tests.redis.reading import PAGE, QUICK, stored_ids
from tests.redis.servers import RedisServer, proxy_to
from tests.redis.working import dead_letters, sending, until_delivered, until_in_redis, working
from tests.waiting import until

pytestmark = pytest.mark.anyio

NewServer = Callable[..., RedisServer]


async def delivered_through(client: Any, **arguments: Any) -> list[str]:
    """Track a few events through *client* and return their ids."""
    async with Tracker(RedisEmitter(client, retry=QUICK, **arguments)) as tracker:
        event_ids = [await tracker.track(PAGE) for _ in range(3)]
        assert (await tracker.flush(30)).delivered == 3
    return event_ids


@asynccontextmanager
async def client_of(server: RedisServer) -> AsyncGenerator[Any, None]:
    async with redis.asyncio.Redis(port=server.port) as rdb:
        yield rdb


async def test_an_account_with_a_password(server: RedisServer, rdb: Any) -> None:
    await rdb.execute_command("ACL", "SETUSER", "shop", "on", ">s@cret", "+@all", "~*")
    async with redis.asyncio.Redis(port=server.port, username="shop", password="s@cret") as client:
        event_ids = await delivered_through(client)
    event_ids += await delivered_through(server.url.replace("//", "//shop:s%40cret@"))
    assert await stored_ids(rdb) == event_ids


async def test_passwords_of_a_credential_provider(server: RedisServer, rdb: Any) -> None:
    await rdb.execute_command("ACL", "SETUSER", "shop", "on", ">secret", "+@all", "~*")
    provider = redis.UsernamePasswordCredentialProvider("shop", "secret")
    async with redis.asyncio.Redis(port=server.port, credential_provider=provider) as client:
        event_ids = await delivered_through(client)
    assert await stored_ids(rdb) == event_ids


async def test_a_unix_socket(new_server: NewServer, tmp_path: Path) -> None:
    path = tmp_path / "redis.socket"
    server = new_server(f"unixsocket {path}")
    async with redis.asyncio.Redis(unix_socket_path=str(path)) as client:
        event_ids = await delivered_through(client)
    event_ids += await delivered_through(f"unix://{path}")
    async with client_of(server) as rdb:
        assert await stored_ids(rdb) == event_ids


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("mode", ["list", "stream"])
async def test_both_protocols(server: RedisServer, rdb: Any, mode: Any, protocol: Any) -> None:
    async with redis.asyncio.Redis(port=server.port, protocol=protocol) as client:
        event_ids = await delivered_through(client, mode=mode)
    assert await stored_ids(rdb) == event_ids


# --- an application's own ways

# It has no types.
NEW_SENTINEL: Any = Sentinel

OWN_WAYS: dict[str, dict[str, Any]] = {
    "texts instead of bytes": {"decode_responses": True},
    "protocol 3": {"protocol": 3, "decode_responses": True},
    "Latin-1": {"encoding": "latin-1"},
    "UTF-16": {"encoding": "utf-16", "decode_responses": True},
    "ASCII that ignores errors": {"encoding": "ascii", "encoding_errors": "ignore"},
    "retries": {"retry": Retry(ExponentialBackoff(), 10), "retry_on_error": [ConnectionError]},
    "a single connection": {"single_connection_client": True},
    "checks of its health": {"health_check_interval": 1, "socket_keepalive": True},
}


@pytest.mark.parametrize("way", OWN_WAYS)
@pytest.mark.parametrize("mode", ["list", "stream"])
async def test_what_a_client_does_in_another_way_does_not_matter(
    server: RedisServer, rdb: Any, mode: Any, way: str
) -> None:
    async with (
        redis.asyncio.Redis(port=server.port, **OWN_WAYS[way]) as client,
        running_collector() as collector,
    ):
        event_ids = await delivered_through(client, key="schlüssel", mode=mode)
        assert await stored_ids(rdb, "schlüssel") == event_ids
        async with working(
            RedisWorker(sending(collector), client=client, key="schlüssel", mode=mode)
        ) as worker:
            await until_delivered(worker, 3)


async def test_a_client_that_is_closed_or_busy_or_a_part_of_one(server: RedisServer, rdb: Any) -> None:
    closed = redis.asyncio.Redis(port=server.port)
    await closed.ping()
    await closed.aclose()
    event_ids = await delivered_through(closed)
    pool = redis.asyncio.BlockingConnectionPool(host="127.0.0.1", port=server.port, max_connections=1)
    async with redis.asyncio.Redis(connection_pool=pool) as busy, busy.pubsub() as subscriber:
        await subscriber.subscribe("news")
        event_ids += await delivered_through(busy)
    await pool.aclose()
    async with redis.asyncio.Redis(port=server.port) as client, client.pipeline() as pipeline:
        event_ids += await delivered_through(pipeline)
    assert await stored_ids(rdb) == event_ids


def test_a_client_of_another_loop(shared_server: RedisServer) -> None:
    async def used() -> Any:
        client = redis.asyncio.Redis(port=shared_server.port)
        await client.ping()
        await client.aclose()
        return client

    assert len(asyncio.run(delivered_through(asyncio.run(used()), key="another-loop"))) == 3


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (
            "redis://user:hunter2@127.0.0.1/0?walrus=1",
            "client: must have settings that redis-py takes: .*'walrus'",
        ),
        ("redis://user:hunter2@127.0.0.1/0?db=walrus", r"client: must be a URL like .*, got '\*\*\*'"),
        (b"redis://user:hunter2@127.0.0.1/0", "client: must be a client of redis.asyncio"),
        (NEW_SENTINEL([("127.0.0.1", 1)]), r"client: .* like sentinel.master_for\('name'\)"),
        (redis.asyncio.ConnectionPool(password="hunter2"), "got a redis.asyncio.connection.ConnectionPool"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once_and_no_password_is_shown(source: Any, complaint: str) -> None:
    for make in (RedisEmitter, lambda client: RedisWorker(sending("http://127.0.0.1:1"), client=client)):
        with pytest.raises(ConfigurationError, match=complaint) as caught:
            make(source)
        assert "hunter2" not in str(caught.value)


PORT, DATABASE = "with a port from 1 to 65535", "with a number from 0 as its database"


@pytest.mark.parametrize(
    ("source", "rule", "shown"),
    [
        ("redis://h:0", PORT, "'0'"),
        ("rediss://h:0/0", PORT, "'0'"),
        ("redis://h:65536/0", PORT, "'65536'"),
        ("redis://h:port/0", PORT, "'***'"),
        ("redis://:123456", PORT, "'***'"),
        ("redis://:hunter2@h:0/0", PORT, "'***'"),
        ("redis://:hunter2/x@h:6379/0", PORT, "'***'"),
        ("redis://h/name", DATABASE, "'name'"),
        ("redis://h/-1", DATABASE, "'-1'"),
        ("redis://h/1/2", DATABASE, "'1/2'"),
        ("redis://h/99999999999", DATABASE, "'99999999999'"),
        ("redis://h?db=-1", DATABASE, "'-1'"),
        ("redis://h?db=", DATABASE, "''"),
        ("redis://h?db=1&db=2", DATABASE, "'1, 2'"),
        ("unix:///run/redis.sock?db=name", DATABASE, "'name'"),
        ("redis://h?password=x&db=hunter2", DATABASE, "'***'"),
        ("redis://user:hunter2@h/name", DATABASE, "'***'"),
        ("redis://h/0?socket_timeout=-1", "with one socket_timeout that redis-py can read", "'-1'"),
        ("redis://h/0?socket_timeout=nan", "with one socket_timeout that redis-py can read", "'nan'"),
        ("redis://h/0?retry_on_timeout=maybe", "with one retry_on_timeout that", "'maybe'"),
        ("rediss://h/0?ssl_check_hostname=maybe", "with one ssl_check_hostname that", "'maybe'"),
        ("redis://h/0?retry_on_error=x", "without this parameter", "'retry_on_error'"),
        ("redis://h/0?port=6379", "without this parameter", "'port'"),
        ("unix://", "with the path of a socket", "'***'"),
        ("unix://run/redis.sock", "with the path of a socket", "'***'"),
        ("redis://h:6379/0#1", "without a '#'", "'***'"),
        ("redis://h h/0", "without spaces", "'***'"),
        ("redis://h/0\n", "must be a URL like", "'***'"),
        ("http://h:6379", "must be a URL like", "'***'"),
        ("", "must be a URL like", "'***'"),
    ],
)
def test_a_url_that_redis_py_would_take_for_another_place_is_refused_at_the_call(
    source: str, rule: str, shown: str
) -> None:
    for make in (
        RedisEmitter,
        RedisListStore,
        RedisStreamStore,
        lambda client: RedisWorker(sending("http://127.0.0.1:1"), client=client),
    ):
        with pytest.raises(ConfigurationError, match=rf"^client: .*{re.escape(rule)}") as caught:
            make(source)
        assert str(caught.value).endswith(f"got {shown}")
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("client", "complaint"),
    [
        (redis.asyncio.Redis(port=0), "with a port from 1 to 65535, got 0"),
        (redis.asyncio.Redis(port=65_536), "with a port from 1 to 65535, got 65536"),
        (redis.asyncio.Redis(db=-1), "with a number from 0 as its database, got -1"),
        (redis.asyncio.Redis(db="name"), "with a number from 0 as its database, got 'name'"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_a_client_of_an_impossible_server_is_refused_at_the_call(client: Any, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^client: must be for a server {complaint}$"):
        RedisEmitter(client)


@pytest.mark.parametrize(
    "source",
    [
        "redis://",
        "redis:///1",
        "redis://h",
        "redis://h:6379/",
        "redis://h:6379//1",
        "REDISS://h:6379/1",
        "redis://[::1]:6379/15",
        "rediss://user:p%40ss@h:6380/2?ssl_cert_reqs=none",
        "unix:///run/my redis.sock?db=3",
        "unix://user:secret@/run/redis.sock",
        "redis://h?db=1&socket_timeout=0.5&retry_on_timeout=yes&client_name=shop&decode_responses=true",
    ],
)
def test_every_url_that_means_something_is_taken(source: str) -> None:
    RedisEmitter(source)


async def test_no_password_is_shown_in_errors_logs_health_and_settings(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    said = []
    for url in (
        f"redis://user:hunter2@127.0.0.1:{server.port}/0",
        f"redis://127.0.0.1:{server.port}/0?password=hunter2",
        "redis://user:hunter2@127.0.0.1:1/0",
        "unix:///nowhere?password=hunter2",
    ):
        emitter = RedisEmitter(url, retry=QUICK, drain_timeout=0)
        worker = RedisWorker(sending("http://127.0.0.1:1"), client=url, drain_timeout=0)
        async with Tracker(emitter) as tracker, working(worker):
            await tracker.track(PAGE)
            await tracker.flush(wait=False)
            await until(lambda: not tracker.health() and worker._store.failures.latest)  # noqa: B023
            said += [str(tracker.health()), worker.summary, repr(emitter), repr(worker)]
        said.append(
            repr(Settings(redis_url=url, celery_broker_url=url, collector="https://u:hunter2@c.example"))
        )
    assert "hunter2" not in "".join([*said, caplog.text])


# --- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def tls_url(server: RedisServer, authority: trustme.CA) -> AsyncIterator[str]:
    """The server behind something that ends TLS: not every server is built with it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with proxy_to(server.port, tls=context) as proxy:
        yield proxy.url.replace("redis://", "rediss://")


async def test_tls(tls_url: str, authority: trustme.CA, rdb: Any, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    async with redis.asyncio.Redis.from_url(
        tls_url, ssl_ca_certs=str(tmp_path / "authority.pem"), ssl_check_hostname=True
    ) as client:
        event_ids = await delivered_through(client)
    assert await stored_ids(rdb) == event_ids


async def test_a_certificate_that_nobody_trusts_is_said_and_the_events_are_kept(tls_url: str) -> None:
    emitter = RedisEmitter(tls_url, drain_timeout=0)
    async with Tracker(emitter) as tracker:
        await tracker.track(PAGE)
        await tracker.flush(wait=False)
        await until(lambda: emitter.stats().state == "misconfigured")
        assert emitter.stats().pending + emitter.stats().leased == 1
        assert "the certificate is not trusted" in str(emitter.stats().last_error)


# --- Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A cluster of one node."""
    with held_port() as bus:
        options = ("cluster-enabled yes", f"cluster-port {bus}")
        with RedisServer(tmp_path_factory.mktemp("redis"), *options) as server:
            with redis.Redis(port=server.port) as rdb:
                rdb.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            wait_for_cluster(server)
            yield server


def wait_for_cluster(server: RedisServer) -> None:
    """Wait until it serves, which it begins two seconds after its start."""
    deadline = time.monotonic() + 30
    rdb: Any
    with redis.Redis(port=server.port) as rdb:
        while rdb.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        rdb.flushall()


@pytest.mark.parametrize("mode", ["list", "stream"])
async def test_a_cluster(cluster: RedisServer, mode: Any) -> None:
    async with RedisCluster(port=cluster.port, host="127.0.0.1") as client:
        event_ids = await delivered_through(client, key=mode, mode=mode)
    # A client of one node, as for a cluster of one.
    event_ids += await delivered_through(cluster.url, key=mode, mode=mode)
    async with client_of(cluster) as rdb:
        assert await stored_ids(rdb, mode) == event_ids


@pytest.mark.parametrize("mode", ["list", "stream"])
async def test_a_worker_of_a_cluster(cluster: RedisServer, mode: Any) -> None:
    """Its scripts need several keys, which must be in one slot."""
    key = f"worked-off-{mode}"
    async with RedisCluster(port=cluster.port, host="127.0.0.1") as client, running_collector() as collector:
        event_ids = await delivered_through(client, key=key, mode=mode)
        worker = RedisWorker(sending(collector), client=client, key=key, mode=mode)
        async with working(worker):
            await until_delivered(worker, 3)
        await client.rpush(key, b"no event") if mode == "list" else await client.xadd(key, {"e": b"no event"})
        async with working(worker), client_of(cluster) as rdb:
            await until_in_redis(lambda: dead_letters(rdb, f"{{{key}}}:dead"))
    assert collector.accepted == dict.fromkeys(event_ids, 1)


async def test_a_cluster_that_is_down_gets_the_events_later(cluster: RedisServer) -> None:
    client = RedisCluster(port=cluster.port, host="127.0.0.1")
    emitter = RedisEmitter(client, retry=QUICK)
    async with Tracker(emitter) as tracker:
        await tracker.track(PAGE)
        await tracker.flush()
        cluster.kill()
        event_ids = [await tracker.track(PAGE)]
        assert (await tracker.flush(0.2)).pending == 1
        await asyncio.to_thread(cluster.start)
        event_ids.append(await tracker.track(PAGE))
        assert (await tracker.flush(30)).pending == 0
    await client.aclose()
    async with client_of(cluster) as rdb:
        assert await stored_ids(rdb) == event_ids


@pytest.mark.parametrize("key", ["snowplow", "a{b}c", "events:anonymous", "a:{b}"])
def test_a_key_beside_another_is_in_its_slot(key: str) -> None:
    assert key_slot(beside(key, "fence:1").encode()) == key_slot(key.encode())


# --- Sentinel


async def test_a_sentinel_says_where_the_master_is_and_where_it_has_gone(new_server: NewServer) -> None:
    first, second = new_server(), new_server()
    monitor = f"monitor shop 127.0.0.1 {first.port} 1"
    sentinel = new_server(f"sentinel {monitor}", arguments=("--sentinel",))
    new_sentinel: Any = Sentinel
    manager = new_sentinel([("127.0.0.1", sentinel.port)])
    client = manager.master_for("shop")
    emitter = RedisEmitter(client, retry=QUICK)
    async with Tracker(emitter) as tracker, client_of(first) as old, client_of(second) as new:
        event_ids = [await tracker.track(PAGE)]
        await tracker.flush(30)
        assert await stored_ids(old) == event_ids
        first.kill()
        async with client_of(sentinel) as orders:
            await orders.execute_command("SENTINEL", "REMOVE", "shop")
            event_id = await tracker.track(PAGE)
            assert (await tracker.flush(0.1)).pending == 1
            await orders.execute_command("SENTINEL", "MONITOR", "shop", "127.0.0.1", second.port, 1)
        assert (await tracker.flush(30)).pending == 0
        assert await stored_ids(new) == [event_id]
    await client.aclose()
    for one in manager.sentinels:
        # Nobody has used the application's own.
        assert one.connection_pool._available_connections == []
        await one.aclose()
