"""The address of a visitor comes from trusted proxies only."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.integrations.asgi import SnowplowMiddleware, tracker_of
from tests.integrations.made import LOOK, Trackers, http_scope, request, tracked

pytestmark = pytest.mark.anyio

CLIENT = "198.51.100.7"
PROXIES = ["10.0.0.0/8", "2001:db8:a::/48", "192.0.2.1"]
Headers = dict[str, str] | list[tuple[str, str]]


async def address(headers: Headers, peer: str | None = "10.0.0.1", **options: Any) -> str | None:
    """Return the address in an event of a request with *headers* from *peer*; None if it is unknown."""
    client = None if peer is None else (peer, 40000)
    options = {"trusted_proxies": PROXIES} | options
    (event,) = await tracked(http_scope(client=client, headers=headers), **options)
    # It is never left out: the collector would record the address of the service.
    return None if event["ip"] == "unknown" else event["ip"]


@pytest.mark.parametrize("peer", [CLIENT, "2001:db8::7"])
@pytest.mark.parametrize(
    "headers",
    [{}, {"X-Forwarded-For": "203.0.113.1"}, {"Forwarded": "for=203.0.113.1"}],
    ids=["without headers", "with X-Forwarded-For", "with Forwarded"],
)
async def test_a_stranger_is_who_they_are_whatever_they_say(peer: str, headers: Headers) -> None:
    assert await address(headers, peer) == peer
    assert await address(headers, peer, trusted_proxies=()) == peer


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (CLIENT, CLIENT),
        (f"{CLIENT}, 10.2.0.1", CLIENT),
        (f"{CLIENT},192.0.2.1 ,\t10.2.0.1", CLIENT),
        # Entries that the client itself has sent stand left of its address.
        (f"203.0.113.1, {CLIENT}, 10.2.0.1", CLIENT),
        (f"10.9.9.9, {CLIENT}", CLIENT),
        ("203.0.113.1, not an address, 10.2.0.1", None),
        # All are proxies, so the client is inside the network.
        ("10.3.0.1, 10.2.0.1", "10.3.0.1"),
        # With a port, as some proxies write it.
        (f"{CLIENT}:51234", CLIENT),
        ("[2001:db8::7]:51234", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("2001:0DB8:0:0::0007", "2001:db8::7"),
        ("2001:db8::7, 2001:db8:a::1", "2001:db8::7"),
        # An IPv4 address, as a socket for both kinds of addresses shows it.
        (f"::ffff:{CLIENT}", CLIENT),
        (f"{CLIENT}, ::ffff:10.0.0.2", CLIENT),
        ("fe80::7%eth0", "fe80::7"),
        # Nobody knows.
        ("unknown", None),
        ("", "10.0.0.1"),
        (",", None),
        (f"{CLIENT},", None),
        ("_hidden", None),
        ("localhost", None),
        ("198.51.100", None),
        ("198.51.100.007", None),
        ("198.51.100.7.1", None),
        ("198.51.100.7:port", None),
        ("[2001:db8::7", None),
        ("[2001:db8::7]x", None),
        ("٣.1.1.1", None),
        ("'; DROP TABLE visitors", None),
    ],
)
async def test_x_forwarded_for_is_read_from_the_right(said: str, found: str | None) -> None:
    headers = {"X-Forwarded-For": said.encode().decode("latin-1")}
    assert await address(headers) == found
    assert await address(headers, forwarded_header="x-forwarded-for") == found
    assert await address(headers, forwarded_header="forwarded") == "10.0.0.1"


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (f"for={CLIENT}", CLIENT),
        (f"For={CLIENT};Proto=https;By=10.0.0.1", CLIENT),
        (f"proto=https ; for={CLIENT}", CLIENT),
        (f'for="{CLIENT}:51234"', CLIENT),
        (f'for="{CLIENT}:_port"', CLIENT),
        (f"for={CLIENT}:51234", CLIENT),
        ('for="[2001:db8::7]:51234"', "2001:db8::7"),
        ('for="[2001:db8::7]"', "2001:db8::7"),
        ("for=[2001:db8::7]", "2001:db8::7"),
        (r'for="\1\98.51.100.7"', CLIENT),
        (f"for=203.0.113.1, for={CLIENT}, for=10.2.0.1", CLIENT),
        (f'for={CLIENT};host="a, for=203.0.113.1"', CLIENT),
        (rf'for={CLIENT};host="a\", for=203.0.113.1;x=\"b"', CLIENT),
        # A quote that the client has left open must not swallow the entry of a proxy.
        (f'for=203.0.113.1;x=", for={CLIENT}', CLIENT),
        (f'for=203.0.113.1;x=", for="{CLIENT}:1"', CLIENT),
        (f'for=203.0.113.1;x="\\, for={CLIENT};by="10.0.0.1"', CLIENT),
        (f"garbage, for={CLIENT}", CLIENT),
        (f"{'for=203.0.113.1,' * 5000}for={CLIENT}", CLIENT),
        # Nobody knows.
        ("for=unknown", None),
        ("for=_hidden", None),
        ('for="_hidden:_port"', None),
        (f"for=_hidden, for={CLIENT}", CLIENT),
        ("proto=https", None),
        ("for=", None),
        ("for", None),
        (f"for={CLIENT};", None),
        (f"for={CLIENT}, garbage", None),
        (f'for="{CLIENT}', None),
        ("," * 5000, None),
        ('a=","' * 1000, None),
    ],
)
async def test_forwarded_is_read_from_the_right(said: str, found: str | None) -> None:
    headers = {"Forwarded": said}
    assert await address(headers) == found
    assert await address(headers, forwarded_header="forwarded") == found
    assert await address(headers, forwarded_header="x-forwarded-for") == "10.0.0.1"


async def test_several_headers_are_one_list() -> None:
    lines = [("X-Forwarded-For", "203.0.113.1"), ("X-Forwarded-For", CLIENT), ("X-Forwarded-For", "10.2.0.1")]
    assert await address(lines) == CLIENT
    assert await address([("Forwarded", f"for={ip}") for _, ip in lines]) == CLIENT


async def test_where_both_headers_come_the_option_says_which_one_the_proxies_write() -> None:
    both = {"X-Forwarded-For": CLIENT, "Forwarded": "for=203.0.113.1"}
    assert await address(both) == CLIENT
    assert await address(both, forwarded_header="x-forwarded-for") == CLIENT
    assert await address(both, forwarded_header="forwarded") == "203.0.113.1"
    assert await address(both | {"Forwarded": f"for={CLIENT}"}) == CLIENT


FORGED = [
    "for=203.0.113.1;host=evil.example;proto=https",
    "for=_hidden;host=evil.example;proto=https",
    "for=unknown",
    "host=evil.example;proto=https",
    f"for={CLIENT};host=evil.example;proto=https",
    "garbage",
    "for=10.2.0.1;host=evil.example",
    "=" * 100_000,
]


@pytest.mark.parametrize("forged", FORGED)
async def test_behind_a_proxy_that_writes_x_forwarded_for_a_clients_forwarded_says_nothing(
    forged: str,
) -> None:
    headers = {"Host": "shop.example", "X-Forwarded-For": CLIENT, "Forwarded": forged}
    (event,) = await tracked(
        http_scope("/shoes", client=("10.0.0.1", 1), headers=headers), trusted_proxies=PROXIES
    )
    assert (event["ip"], event["url"]) == (CLIENT, "http://shop.example/shoes")


@pytest.mark.parametrize(
    ("written", "forged"),
    [
        ({"Forwarded": f"for={CLIENT};proto=https"}, {"X-Forwarded-For": "203.0.113.1"}),
        ({"X-Forwarded-For": CLIENT, "X-Forwarded-Proto": "https"}, {"Forwarded": "for=203.0.113.1"}),
    ],
    ids=["Forwarded", "X-Forwarded-For"],
)
async def test_the_header_that_has_come_alone_is_the_one_that_the_proxies_write(
    trackers: Trackers, written: dict[str, str], forged: dict[str, str]
) -> None:
    """A client can add a header, but cannot take away the one that a proxy writes."""

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        await tracker_of(scope).track(LOOK)

    middleware = SnowplowMiddleware(app, trackers, trusted_proxies=PROXIES)
    told = {"Host": "shop.example", **written}
    evil = {"X-Forwarded-Host": "evil.example"} if "Forwarded" in written else {}
    for headers in (told, told | forged, told | evil | forged):
        await request(middleware, http_scope("/", client=("10.0.0.1", 1), headers=headers))
    found = [(event["ip"], event["url"]) for event in trackers.events]
    assert found == [(CLIENT, "https://shop.example/")] * 3


async def test_where_some_proxies_write_this_and_some_that_nobody_is_believed(trackers: Trackers) -> None:
    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        await tracker_of(scope).track(LOOK)

    middleware = SnowplowMiddleware(app, trackers, trusted_proxies=PROXIES)
    this, that = {"Forwarded": f"for={CLIENT};host=evil.example"}, {"X-Forwarded-For": "203.0.113.1"}
    for headers in (this, that, this | that):
        scope = http_scope("/", client=("10.0.0.1", 1), headers={"Host": "shop.example"} | headers)
        await request(middleware, scope)
    assert [event["ip"] for event in trackers.events] == [CLIENT, "203.0.113.1", "unknown"]
    assert trackers.events[-1]["url"] == "http://shop.example/"


@pytest.mark.parametrize(
    ("proxies", "peer", "is_trusted"),
    [
        (["::ffff:10.0.0.0/104"], "10.0.0.1", True),
        (["::ffff:10.0.0.0/104"], "::ffff:10.0.0.1", True),
        (["::ffff:10.0.0.0/104"], "11.0.0.1", False),
        (["::ffff:10.0.0.1"], "10.0.0.1", True),
        (["::ffff:10.0.0.1"], "10.0.0.2", False),
        (["::ffff:a00:1"], "::FFFF:10.0.0.1", True),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", True),
        (["10.0.0.0/8"], "::ffff:a00:1", True),
        (["::ffff:0:0/96"], "198.51.100.9", True),
        (["::/0"], "10.0.0.1", True),
        (["::/0"], "2001:db8::1", True),
        (["2000::/3"], "10.0.0.1", False),
        (["0.0.0.0/0"], "2001:db8::1", False),
    ],
)
async def test_an_ipv4_address_inside_an_ipv6_one_is_the_same_address(
    proxies: list[str], peer: str, *, is_trusted: bool
) -> None:
    said = {"X-Forwarded-For": "2001:db8:c::7" if proxies == ["0.0.0.0/0"] else "1000::7"}
    found = await address(said, peer, trusted_proxies=proxies)
    assert (found != await address({}, peer)) == is_trusted


@pytest.mark.parametrize("peer", [None, "testclient", ""])
async def test_a_unix_socket_is_a_proxy_that_must_be_named(peer: str | None) -> None:
    said = {"X-Forwarded-For": CLIENT}
    assert await address(said, peer) is None
    assert await address(said, peer, trusted_proxies=["unix"]) == CLIENT
    assert await address({}, peer, trusted_proxies=["unix"]) is None
    # An entry without an address is not a proxy at a socket.
    hidden = {"X-Forwarded-For": f"{CLIENT}, unknown"}
    assert await address(hidden, peer, trusted_proxies=["unix"]) is None


@settings(deadline=None)
@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=60))
def test_what_a_client_sends_never_hides_or_replaces_what_the_proxy_adds(sent: str) -> None:
    for added in (f"for={CLIENT}", f'for="{CLIENT}:80";by="[2001:db8:a::1]"', f"proto=https;for={CLIENT}"):
        assert asyncio.run(address({"Forwarded": f"{sent}, {added}"})) == CLIENT
        assert asyncio.run(address([("Forwarded", sent), ("Forwarded", added)])) == CLIENT
    assert asyncio.run(address({"X-Forwarded-For": f"{sent}, {CLIENT}, 10.2.0.1"})) == CLIENT


@settings(deadline=None)
@given(st.lists(st.text('for=";,:[]\\ _1a.', max_size=12), max_size=6))
def test_no_garbage_fails_a_request(pieces: list[str]) -> None:
    for text in (",".join(pieces), ";".join(pieces)):
        for name in ("Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"):
            asyncio.run(address({name: text}))


# --- compared with uvicorn


def uvicorns_address(said: list[str], peer: str, proxies: list[str]) -> str:
    """Return the address of the client as uvicorn's own middleware reads it."""
    scope: Any = http_scope(client=(peer, 40000), headers=[("X-Forwarded-For", line) for line in said])

    async def app(*_: Any) -> Any: ...

    asyncio.run(ProxyHeadersMiddleware(app, proxies)(scope, app, app))
    client: str = scope["client"][0]
    return client


def _canonical(client: str) -> str | None:
    try:
        return str(ip_address(client))
    except ValueError:
        return None


def _is_plain(ip: IPv4Address | IPv6Address) -> bool:
    """Return whether both read the address alike. Only we read an IPv4 address inside an IPv6 one."""
    return isinstance(ip, IPv4Address) or (ip.ipv4_mapped is None and ip.scope_id is None)


PLACES = st.sampled_from(
    [CLIENT, "203.0.113.1", "2001:db8::7", "10.1.2.3", "10.2.0.1", "2001:db8:a::1", "192.0.2.1"]
)
ADDRESSES = st.one_of(PLACES.map(ip_address), st.ip_addresses().filter(_is_plain))
PORTS = st.integers(0, 65_535)


@st.composite
def entries(draw: st.DrawFn) -> str:
    """Make an entry of the list as proxies write it: with or without port and spaces."""
    ip = draw(ADDRESSES)
    forms = [f"{ip}"] if isinstance(ip, IPv6Address) else [f"{ip}", f"{ip}:{draw(PORTS)}"]
    if isinstance(ip, IPv6Address):
        forms += [f"{ip}".upper(), ip.exploded, f"[{ip}]", f"[{ip}]:{draw(PORTS)}"]
    return (
        draw(st.sampled_from(["", " ", "\t"]))
        + draw(st.sampled_from(forms))
        + draw(st.sampled_from(["", " "]))
    )


LINES = st.lists(st.lists(entries(), min_size=1, max_size=4).map(",".join), min_size=1, max_size=3)
TRUSTED = st.lists(st.sampled_from([*PROXIES, CLIENT, "203.0.113.0/24"]), unique=True)


@given(LINES, PLACES, TRUSTED)
def test_addresses_are_read_as_uvicorn_reads_them(said: list[str], peer: str, proxies: list[str]) -> None:
    headers = [("X-Forwarded-For", line) for line in said]
    found = asyncio.run(address(headers, peer, trusted_proxies=proxies))
    assert found == _canonical(uvicorns_address(said, peer, proxies))


GARBAGE = st.one_of(
    st.sampled_from(
        ["unknown", "_hidden", "", "localhost", "198.51.100", "198.51.100.7.1", "[2001:db8::7", "::g"]
    ),
    st.text("abc.[]; \"'=", max_size=12),
)


@given(st.lists(st.one_of(entries(), GARBAGE), min_size=1, max_size=6), PLACES, TRUSTED)
def test_where_the_list_has_garbage_nobody_is_named_whom_uvicorn_does_not_name(
    said: list[str], peer: str, proxies: list[str]
) -> None:
    headers = [("X-Forwarded-For", ",".join(said))]
    found = asyncio.run(address(headers, peer, trusted_proxies=proxies))
    # For an entry that is no address uvicorn returns its text, and for an empty one the peer.
    assert found in (None, _canonical(uvicorns_address([",".join(said)], peer, proxies)))


@pytest.mark.parametrize(
    ("said", "found", "uvicorn"),
    [
        ("unknown", None, "unknown"),
        (f"{CLIENT},", None, "10.0.0.1"),
        # The same address, written in another way.
        (f"::ffff:{CLIENT}", CLIENT, f"::ffff:{CLIENT}"),
        ("fe80::7%eth0", "fe80::7", "fe80::7%eth0"),
        # A proxy that listens on a socket for both kinds of addresses.
        (f"{CLIENT}, ::ffff:10.0.0.2", CLIENT, "::ffff:10.0.0.2"),
        # RFC 7239 has ports with a name.
        (f"{CLIENT}:_port", CLIENT, f"{CLIENT}:_port"),
        (f"{CLIENT}:100000", None, CLIENT),
        # Longer than any list that proxies write.
        (",".join([CLIENT, *["10.2.0.1"] * 51]), "10.2.0.1", CLIENT),
    ],
)
async def test_the_differences_from_uvicorn_are_these(said: str, found: str | None, uvicorn: str) -> None:
    assert await address({"X-Forwarded-For": said}) == found
    assert await asyncio.to_thread(uvicorns_address, [said], "10.0.0.1", PROXIES) == uvicorn


# --- the address of the page


@pytest.mark.parametrize(
    ("headers", "page"),
    [
        ({}, "http://shop.example/shoes"),
        ({"X-Forwarded-Proto": "https"}, "https://shop.example/shoes"),
        ({"X-Forwarded-Proto": "http, HTTPS"}, "https://shop.example/shoes"),
        ({"X-Forwarded-Proto": "gopher"}, "http://shop.example/shoes"),
        ({"X-Forwarded-Host": "www.shop.example"}, "http://www.shop.example/shoes"),
        ({"X-Forwarded-Host": "evil.example, www.shop.example:8443"}, "http://www.shop.example:8443/shoes"),
        (
            {"Forwarded": f'for={CLIENT};proto=https;host="www.shop.example:8443"'},
            "https://www.shop.example:8443/shoes",
        ),
        ({"Forwarded": f"for={CLIENT};proto=https, for=10.2.0.1;proto=http"}, "https://shop.example/shoes"),
        ({"Forwarded": f"for=1.1.1.1;proto=https, for={CLIENT};proto=http"}, "http://shop.example/shoes"),
    ],
)
async def test_the_page_is_where_the_visitor_sees_it(headers: dict[str, str], page: str) -> None:
    told = {"Host": "shop.example", **headers}
    through_proxy = http_scope("/shoes", headers=told, client=("10.0.0.1", 1))
    (event,) = await tracked(through_proxy, trusted_proxies=PROXIES)
    assert event["url"] == page
    (event,) = await tracked(http_scope("/shoes", headers=told), trusted_proxies=PROXIES)
    assert event["url"] == "http://shop.example/shoes"


async def test_a_websocket_behind_a_proxy_stays_one() -> None:
    headers = {"Host": "shop.example", "X-Forwarded-Proto": "https"}
    scope = http_scope("/ws", headers=headers, client=("10.0.0.1", 1), type="websocket", scheme="ws")
    (event,) = await tracked(scope, trusted_proxies=PROXIES)
    assert event["url"] == "wss://shop.example/ws"


# --- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"trusted_proxies": "10.0.0.1"},
            r"^trusted_proxies: must be a list of addresses and networks, got '10",
        ),
        ({"trusted_proxies": 1}, r"^trusted_proxies: must be a list of addresses and networks, got 1$"),
        (
            {"trusted_proxies": ["*"]},
            r"^trusted_proxies: must be addresses, networks like .*, or 'unix', got '\*'$",
        ),
        ({"trusted_proxies": ["10.0.0.1/8"]}, r"^trusted_proxies: must be addresses, .* got '10.0.0.1/8'$"),
        ({"trusted_proxies": [True]}, r"^trusted_proxies: must be addresses, .* got True$"),
        ({"forwarded_header": "x-real-ip"}, r"^forwarded_header: must be 'forwarded', .* got 'x-real-ip'$"),
    ],
)
def test_wrong_proxies_are_refused(options: dict[str, Any], message: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    with pytest.raises(ConfigurationError, match=message):
        SnowplowMiddleware(app, **options)
