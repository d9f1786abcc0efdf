"""The proxies of the environment are used, and what is wrong with a proxy is said."""

from __future__ import annotations

import base64
import logging
import socket
from pathlib import Path
from typing import Any

import pytest
import trustme

from snowplow_aio import ConfigurationError, HttpEmitter, PageView, Retry, Tracker, track_once
from tests.collector import Collector, running_collector
from tests.faults.test_answers import names, tls
from tests.http.proxy import Proxy, running_proxy
from tests.ports import held_port
from tests.waiting import until

pytestmark = pytest.mark.anyio

PAGE = PageView(page_url="https://shop.example/")
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "request_method")


@pytest.fixture(autouse=True)
def no_proxy_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def named(collector: Collector, host: str = "collector.invalid") -> str:
    """Return the URL of *collector* under a name that only the proxy can reach."""
    return collector.url.replace("127.0.0.1", host)


def quick(url: str, **options: Any) -> HttpEmitter:
    policy = Retry(initial_delay=0.01, max_delay=0.05)
    return HttpEmitter(url, retry=policy, flush_interval=0.01, drain_timeout=0, **options)


async def delivered_through(proxy: Proxy, emitter: HttpEmitter) -> bool:
    """Deliver an event; return whether it went through *proxy*."""
    seen = len(proxy.heads)
    async with Tracker(emitter) as tracker:
        await tracker.track(PAGE)
        assert (await tracker.flush(20)).delivered == 1
    return len(proxy.heads) > seen


# --- which proxy


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"])
async def test_the_proxy_of_the_environment_is_used(
    collector: Collector, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_proxy() as proxy:
        monkeypatch.setenv(variable, proxy.url)
        assert await delivered_through(proxy, quick(named(collector)))
        assert proxy.heads[0].startswith(f"POST {named(collector)}/com.snowplowanalytics.snowplow/tp2 ")


async def test_a_proxy_may_be_written_without_a_scheme_and_with_credentials(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_proxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("http://", "ada:pass%20word@"))
        assert await delivered_through(proxy, quick(named(collector), method="get"))
    credentials = base64.b64encode(b"ada:pass word").decode()
    assert f"Proxy-Authorization: Basic {credentials}\r\n" in proxy.heads[0]


async def test_tls_goes_through_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    client, server = tls(trustme.CA(), "collector.invalid")
    async with running_proxy() as proxy, running_collector(ssl=server) as collector:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.setenv("http_proxy", "http://nobody.invalid:1")
        assert await delivered_through(proxy, quick(named(collector), ssl=client))
        assert proxy.heads[0].startswith("CONNECT collector.invalid:")


async def test_a_proxy_that_is_given_comes_before_that_of_the_environment(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://nobody.invalid:1")
    async with running_proxy() as proxy:
        assert await delivered_through(proxy, quick(named(collector), proxy=proxy.url))


async def test_without_trust_nothing_of_the_environment_is_used(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://nobody.invalid:1")
    async with running_proxy() as proxy:
        assert not await delivered_through(proxy, quick(collector.url, trust_env=False))


@pytest.mark.parametrize("trust_env", [None, 1, "yes"])
def test_trust_must_be_true_or_false(trust_env: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^trust_env: must be True or False"):
        HttpEmitter("h", trust_env=trust_env)


@pytest.mark.parametrize(
    "pattern",
    [
        "*",
        "127.0.0.1",
        "10.0.0.1, 127.0.0.1",
        "127.0.0.0/8",
        "127.0.0.1/32",
        "127.0.0.1:{port}",
        "a,,127.0.0.0/8",
    ],
)
async def test_an_exception_is_reached_without_the_proxy(
    collector: Collector, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://nobody.invalid:1")
    monkeypatch.setenv("NO_PROXY", pattern.format(port=collector.url.rpartition(":")[2]))
    async with running_proxy() as proxy:
        assert not await delivered_through(proxy, quick(collector.url))


@pytest.mark.parametrize(
    "pattern", ["", "10.0.0.0/8", "127.0.0.1:1", "example", "::1/128", "127.0.0/8", "collector.invalid"]
)
async def test_no_exception_is_reached_through_the_proxy(
    collector: Collector, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", pattern)
    async with running_proxy() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert await delivered_through(proxy, quick(collector.url))


@pytest.mark.parametrize("pattern", ["invalid", ".invalid", "collector.invalid", "collector.invalid:{port}"])
async def test_a_domain_is_an_exception_for_all_its_names(
    collector: Collector, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://nobody.invalid:1")
    monkeypatch.setenv("no_proxy", pattern.format(port=collector.url.rpartition(":")[2]))
    with names({"collector.invalid": "127.0.0.1"}):
        async with running_proxy() as proxy:
            assert not await delivered_through(proxy, quick(named(collector)))


async def test_a_single_event_goes_through_it_as_well(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_proxy() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        await track_once(named(collector), PAGE)
        assert len(proxy.heads) == 1


async def test_credentials_of_netrc_are_never_sent(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ada password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with Tracker(quick(collector.url)) as tracker:
        await tracker.track(PAGE)
        assert (await tracker.flush(20)).delivered == 1
    assert "authorization" not in collector.requests[0].headers


# --- what is wrong with it


async def fault_of(emitter: HttpEmitter, state: str = "misconfigured") -> str:
    """Return what the health says once the emitter is in *state*, and that it keeps its event."""
    async with Tracker(emitter) as tracker:
        await tracker.track(PAGE)
        await until(lambda: tracker.stats()["http"].state == state)
        stats = tracker.stats()["http"]
        assert stats.pending + stats.leased == 1
        return tracker.health().summary


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("407 Proxy Authentication Required", r"the proxy asks for credentials (status 407)"),
        ("403 Forbidden", r"the proxy refuses to connect to the collector (status 403)"),
        ("405 Method Not Allowed", r"the proxy refuses to connect to the collector (status 405)"),
        ("302 Found", r"the proxy refuses to connect to the collector (status 302)"),
    ],
    ids=["407", "403", "405", "302"],
)
async def test_a_proxy_that_opens_no_tunnel_is_a_misconfiguration(
    answer: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    head = f"HTTP/1.1 {answer}\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n".encode()
    with caplog.at_level(logging.DEBUG):
        async with running_proxy(head) as proxy:
            emitter = quick(
                "https://collector.invalid",
                proxy=proxy.url.replace("http://", "http://ada:hunter2@"),
                headers={"Authorization": "Bearer hunter3"},
            )
            assert reason in await fault_of(emitter)
    assert "hunter" not in caplog.text
    assert base64.b64encode(b"ada:hunter2").decode() not in caplog.text
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_proxy_that_has_no_connection_is_an_outage(status: int) -> None:
    async with running_proxy(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % status) as proxy:
        said = await fault_of(quick("https://collector.invalid", proxy=proxy.url), "backing_off")
    assert f"the proxy has no connection to the collector (status {status})" in said


async def test_a_proxy_that_asks_for_credentials_without_a_tunnel_is_named_too() -> None:
    async with running_proxy(b"HTTP/1.1 407 x\r\nContent-Length: 0\r\n\r\n") as proxy:
        said = await fault_of(quick("http://collector.invalid", proxy=proxy.url))
    assert "status 407: the proxy asks for credentials" in said


async def test_a_proxy_whose_name_is_not_known_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
    with names({}):
        said = await fault_of(quick("https://collector.invalid"))
    assert "the name of the proxy, proxy.invalid, is not known" in said


async def test_a_name_service_that_is_down_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr("socket.getaddrinfo", fail)
    said = await fault_of(
        quick("https://collector.invalid", proxy="http://proxy.invalid:3128"), "backing_off"
    )
    assert "the name of the proxy, proxy.invalid, is not known" in said


async def test_a_proxy_that_is_not_there_is_named() -> None:
    with held_port() as port:
        proxy = f"http://127.0.0.1:{port}"
        said = await fault_of(quick("https://collector.invalid", proxy=proxy), "backing_off")
    assert f"no connection to the proxy 127.0.0.1:{port}: Connection refused" in said


@pytest.mark.parametrize("proxy", ["socks5://proxy.example:1080", "http://", "$PROXY", "http://h:99999"])
async def test_what_is_no_proxy_of_http_is_said_and_nothing_goes_around_it(
    collector: Collector, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    assert "the proxy that the environment names is no HTTP proxy" in await fault_of(quick(collector.url))
    assert collector.requests == []
