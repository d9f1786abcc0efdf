"""An address of a collector is understood, or refused with the rule where it is given."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from snowplow_aio import ConfigurationError, HttpEmitter, PageView, Tracker, track_once
from snowplow_aio.http.collector import Collector as Addresses
from tests.collector import Collector

pytestmark = pytest.mark.anyio

PAGE = PageView(page_url="https://shop.example/")
TP2 = "/com.snowplowanalytics.snowplow/tp2"

NO_ADDRESSES = [
    "", " ", "http:/h", "https//h", "https://https://h", "https:h", "https/h", "http:8080", "://h", "ftp://h",
    "h:", "https://h:/x", "h:0", "h:65536", "h:\uff18\uff10", "h:80:80", "h:-1", "h:x",
    "c..h", ".h", "h..", "..", "-h.example", "h-.example", "a" * 64, "a." * 130, "bücher..de", "\uff1ah",
    "None", "null", "undefined", "$COLLECTOR", "${COLLECTOR}", "https://$HOST/x", "https://h/$PREFIX",
    "{{ collector }}", "{{collector}}", "%COLLECTOR%", "<collector>", "[collector]",
    "1.2.3.256", "127.1", "123", "1.2.3.4.5", "http://[::1", "http://[zz]", "[::1]x", "::1",
    " h", "h ", "h\n", "h\t.example", "h\x00", "h\x7f.example", "h\u200b", "h\u00a0.example", "h\ud800",
    "https://h/a b", "https://h/ü", "https://h//a", "https://h/a//b", "https://h/../b", "https://h/a/./b",
    "https://h/%zz", "https://h/%", "https://h\\a", "https://h/a\\b", "https://h/a\x01", "h|x", "h^",
    'h"', "h`",
    "https://h?e=pv", "https://h/i?e=pv", "https://h#top", "user:secret@h", "https://user:secret@h",
]  # fmt: skip


@pytest.mark.parametrize("endpoint", NO_ADDRESSES)
def test_what_is_no_address_is_refused_with_the_rule(endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^endpoint: must ") as caught:
        HttpEmitter(endpoint)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("endpoint", [None, 7, b"h", ["h"]])
def test_what_is_no_text_is_refused_with_the_rule(endpoint: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^endpoint: must be a host or an http\(s\) URL"):
        HttpEmitter(endpoint)


@pytest.mark.parametrize(
    ("endpoint", "base"),
    [
        ("h", "https://h"),
        ("localhost:9090", "https://localhost:9090"),
        ("h.example.", "https://h.example."),
        ("collector_1.internal", "https://collector_1.internal"),
        ("http://10.0.0.1", "http://10.0.0.1"),
        ("[::1]:9090", "https://[::1]:9090"),
        ("bücher.example", "https://xn--bcher-kva.example"),
        ("http://straße.example:80/a", "http://xn--strae-oqa.example:80/a"),
        ("https://h/prefix/", "https://h/prefix"),
        ("https://h/a%20b/c", "https://h/a%20b/c"),
        ("https://h//", "https://h"),
        ("https://h/wiki", "https://h/wiki"),
        (f"https://h{TP2}", "https://h"),
        (f"https://h{TP2}/", "https://h"),
        (f"h:80/prefix{TP2}", "https://h:80/prefix"),
        ("https://h/i", "https://h"),
        ("https://h/prefix/i/", "https://h/prefix"),
    ],
)
def test_an_address_and_a_pasted_path_of_the_collector_are_understood(endpoint: str, base: str) -> None:
    addresses = Addresses.at(endpoint, protocol=None, port=None, post_path=None)
    assert (addresses.post_url, addresses.get_url) == (f"{base}{TP2}", f"{base}/i")


def test_a_pasted_path_of_ones_own_is_understood_too() -> None:
    addresses = Addresses.at("https://h/com.acme/track", protocol=None, port=None, post_path="com.acme/track")
    assert addresses.post_url == "https://h/com.acme/track"


@pytest.mark.parametrize(
    "path",
    ["", "/", "a", "a/b/c", "a//b", "a/..", "./b", "a b/c", "a/b\n", "a/b\x00", "a/\x7f", "ü/b", "a/b?c",
     "a/b#c",
     "a\\b/c", "a/%zz", "$VENDOR/b", "a/b\u200b", 7],
)  # fmt: skip
def test_a_path_that_the_collector_cannot_route_is_refused(path: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^post_path: must be two path segments"):
        HttpEmitter("h", post_path=path)


@pytest.mark.parametrize("path", [TP2, "/i"])
@pytest.mark.parametrize("method", ["get", "post"])
async def test_events_arrive_where_a_full_path_was_pasted(
    collector: Collector, path: str, method: Any
) -> None:
    async with Tracker(HttpEmitter(collector.url + path, method=method)) as tracker:
        await tracker.track(PAGE)
    assert [request.target.partition("?")[0] for request in collector.requests] == [
        TP2 if method == "post" else "/i"
    ]


# --- the other ways to give one


def run_worker(*arguments: str, **variables: str) -> Any:
    command = [
        sys.executable,
        "-c",
        "import sys; from snowplow_aio.cli.main import main; sys.exit(main())",
        "worker",
    ]
    command += arguments
    return subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=50
    )


@pytest.mark.parametrize("endpoint", ["https//h", "$COLLECTOR"])
async def test_a_single_event_is_refused_as_well(endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^endpoint: must "):
        await track_once(endpoint, PAGE)


@pytest.mark.parametrize("how", ["option", "variable"])
def test_the_worker_refuses_it_and_ends(how: str) -> None:
    endpoint = "https//h"
    ended = (
        run_worker("--collector", endpoint) if how == "option" else run_worker(SNOWPLOW_COLLECTOR=endpoint)
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "must be a host or an http(s) URL" in ended.stderr
    assert "Traceback" not in ended.stderr
