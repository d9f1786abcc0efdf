"""
The proxies in front of a service, and what their headers say of a request.

Anybody can send ``Forwarded`` and ``X-Forwarded-For``. Each proxy appends the
address that it has the request from. So the list is read from the right: an entry
that a trusted proxy has appended is true, and the first address that is not a
trusted proxy is the client. The client may have made up everything left of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.integrations.request_head import RequestHead
from snowplow_aio.model.arguments import check_argument

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
ForwardedHeader = Literal["forwarded", "x-forwarded-for"]

UNIX = "unix"
"""In a list of proxies: those that connect by a Unix socket and have no address."""

# RFC 7239, section 4. Many proxies send addresses with a port without quotes, so these are read too.
_PAIR = r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:\"((?:[^\"\\]|\\.)*)\"|([^\s\";,=\\]+))"
_ELEMENT = re.compile(rf"[ \t]*{_PAIR}(?:[ \t]*;[ \t]*{_PAIR})*[ \t]*")
_PAIRS = re.compile(_PAIR)
_PORT = re.compile(r":(?:[0-9]{1,5}|_[A-Za-z0-9._-]+)")

# Most commas within quotes in one element of `Forwarded`. Addresses and hosts have none.
_MAX_COMMAS = 8
# No service has more proxies in a row: the rest of a longer list was made up.
_MAX_HOPS = 50
# No more of a list is read, from its end. An entry with an address and a host has some 400 characters.
_MAX_LIST = 25_000
# The longest IPv6 address with brackets, an interface and a port has some 80 characters.
_MAX_NODE = 100

# IPv4 addresses as a socket for both kinds of addresses shows them (RFC 4291, section 2.5.5.2).
_MAPPED = IPv6Network("::ffff:0:0/96")


class Proxies:
    """
    The trusted proxies of a service.

    Args:
        trusted: Their addresses and networks, like ``10.0.0.0/8``; `UNIX` for those that
            connect by a Unix socket.

        header: The header that they write; None for either. See `_header_of` for a request that
            has both.

    Raises:
        ConfigurationError: If an argument has the wrong type, or an entry is no address and no network.
    """

    def __init__(self, trusted: Iterable[str], header: ForwardedHeader | None) -> None:
        is_list = isinstance(trusted, Iterable) and not isinstance(trusted, str | bytes)
        check_argument(is_list, "trusted_proxies", trusted, "must be a list of addresses and networks")
        is_header = header in (None, "forwarded", "x-forwarded-for")
        rule = "must be 'forwarded', 'x-forwarded-for', or None"
        check_argument(is_header, "forwarded_header", header, rule)
        given = list(trusted)
        self._trusts_unix: bool = UNIX in given
        self._networks: list[Network] = [
            network for text in given if text != UNIX for network in _networks(text)
        ]
        self._header: ForwardedHeader | None = header
        self._seen_alone: set[ForwardedHeader] = set()

    def seen_by(self, head: RequestHead) -> tuple[str | None, str, str]:
        """
        Return the client's address, the scheme and the host of a request, as the outermost proxy saw them.

        The address is None if it is unknown.
        """
        peer = address_of(head.peer or "")
        scheme, host = head.scheme, head.value(b"host")
        if not self._is_trusted(peer):
            return _text(peer), scheme, host
        forwarded, addresses = head.value(b"forwarded"), head.value(b"x-forwarded-for")
        header = self._header or self._header_of(forwarded, addresses)
        if header == "forwarded":
            address, told = self._client(peer, _forwarded(_end_of(forwarded)))
            return address, _scheme(scheme, told.get("proto", "")), told.get("host") or host
        if header is None:
            return None, scheme, host
        address, _ = self._client(peer, _forwarded_for(_end_of(addresses)))
        scheme = _scheme(scheme, _last(head, b"x-forwarded-proto"))
        return address, scheme, _last(head, b"x-forwarded-host") or host

    def _header_of(self, forwarded: str, addresses: str) -> ForwardedHeader | None:
        """
        Return the header that the proxies write, going by those that a request has; None if that is unknown.

        A client can send a header, but cannot take away the one that a proxy writes. So a header
        that has come alone is the proxies', and the other one is not. Until that is seen, it is the
        one that most proxies write. If each has come alone, some proxies write this and some that.
        """
        if not (forwarded and addresses):
            header: ForwardedHeader = "forwarded" if forwarded else "x-forwarded-for"
            if forwarded or addresses:
                self._seen_alone.add(header)
            return header
        if len(self._seen_alone) == 2:
            return None
        return "forwarded" if "forwarded" in self._seen_alone else "x-forwarded-for"

    def _is_trusted(self, address: Address | None) -> bool:
        if address is None:
            return self._trusts_unix
        for network in self._networks:  # noqa: SIM110 - a generator for each request, mostly for nothing
            if address in network:
                return True
        return False

    def _client(
        self, peer: Address | None, hops: Iterator[Mapping[str, str]]
    ) -> tuple[str | None, Mapping[str, str]]:
        """Return the address of the client, and the other values of its entry."""
        address, told = peer, dict[str, str]()
        for hop in hops:
            address, told = address_of(hop.get("for", "")), dict(hop)
            if address is None or not self._is_trusted(address):
                break
        return _text(address), told


@lru_cache(maxsize=1024)
def _text(address: Address | None) -> str | None:
    return None if address is None else str(address)


def address_of(node: str) -> Address | None:
    """
    Return the address in *node*, which may have a port.

    Returns:
        None for a hidden or unknown client, and for a text that is no address.
    """
    text = node.strip()
    # Before anything is kept: a header may have megabytes.
    return _address_of(text) if len(text) <= _MAX_NODE else None


# The same visitors and proxies come again and again, and parsing an address costs as much as an event's JSON.
@lru_cache(maxsize=1024)
def _address_of(text: str) -> Address | None:
    if text.startswith("["):
        text, closing, port = text[1:].partition("]")
        if not closing:
            return None
    else:
        # An IPv6 address without brackets has no port.
        host, colon, rest = text.partition(":")
        text, port = (host, colon + rest) if colon and ":" not in rest else (text, "")
    if port and not _PORT.fullmatch(port):
        return None
    try:
        # Behind a percent sign stands an interface of the machine that saw the address.
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A socket for both kinds of addresses shows IPv4 addresses so.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _networks(text: object) -> list[Network]:
    """Return the network *text*, and the IPv4 network whose addresses are mapped into it."""
    try:
        network = ip_network(str(text))
    except ValueError:
        rule = f"must be addresses, networks like '10.0.0.0/8', or {UNIX!r}"
        raise ConfigurationError.about("trusted_proxies", text, rule) from None
    if isinstance(network, IPv4Network) or not network.overlaps(_MAPPED):
        return [network]
    length = max(network.prefixlen - _MAPPED.prefixlen, 0)
    first = max(int(network.network_address), int(_MAPPED.network_address)) & 0xFFFF_FFFF
    return [network, IPv4Network((first, length))]


def _end_of(header: str) -> str:
    """Return the last entries of a list; a longer one was made up."""
    return header if len(header) <= _MAX_LIST else header[-_MAX_LIST:].partition(",")[2]


def _forwarded_for(header: str) -> Iterator[Mapping[str, str]]:
    """Yield the entries of *header* from the right; none if it is empty."""
    for address in reversed(header.rsplit(",", _MAX_HOPS)[-_MAX_HOPS:] if header else ()):
        yield {"for": address}


def _forwarded(header: str) -> Iterator[Mapping[str, str]]:
    """Yield the elements of *header* from the right; a malformed one is empty and ends the list."""
    if not header:
        return
    end = len(header)
    for _ in range(_MAX_HOPS):
        start = _start_of_element(header, end)
        if start is None:
            yield {}
            return
        pairs = _PAIRS.findall(header, start, end)
        yield {name.lower(): _unquoted(quoted) or plain for name, quoted, plain in pairs}
        if start == 0:
            return
        end = start - 1


def _start_of_element(header: str, end: int) -> int | None:
    # From the right, so that a quote that the client has left open does not swallow a proxy's entry.
    comma = end
    for _ in range(_MAX_COMMAS):
        comma = header.rfind(",", 0, comma)
        if _ELEMENT.fullmatch(header, comma + 1, end):
            return comma + 1
        if comma < 0:
            break
    return None


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _last(head: RequestHead, name: bytes) -> str:
    """Return the last entry of the header *name*, which the nearest proxy has written."""
    return head.value(name).rpartition(",")[2].strip()


def _scheme(scheme: str, told: str) -> str:
    """Return the scheme that a proxy has *told*; a WebSocket stays one. It is *scheme* if that is unknown."""
    is_secure = {"https": True, "wss": True, "http": False, "ws": False}.get(told.lower())
    if is_secure is None:
        return scheme
    name = "ws" if scheme in ("ws", "wss") else "http"
    return name + "s" * is_secure
