"""The proxies that the environment names: ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY``, ``NO_PROXY``."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from urllib import request as urllib_request
from urllib.parse import SplitResult
from urllib.request import getproxies_environment

_PORTS = {"http": 80, "https": 443}

# It has no types.
_is_bypassed: Callable[[str, dict[str, str]], bool] = vars(urllib_request)["proxy_bypass_environment"]


def proxy_for(url: SplitResult) -> str | None:
    """
    Return the URL of the proxy that the environment names for *url*, or None if it is to be reached without.

    The variables are read in small and in capital letters. ``NO_PROXY`` has hosts, domains, hosts
    with ports, and networks, separated by commas; ``*`` stands for all.
    """
    proxies = getproxies_environment()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or _is_excepted(url, proxies):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_excepted(url: SplitResult, proxies: dict[str, str]) -> bool:
    host = url.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    if _is_bypassed(host, proxies):
        return True
    if _is_bypassed(f"{shown}:{url.port or _PORTS[url.scheme]}", proxies):
        return True
    return any(_has(network.strip(), host) for network in proxies.get("no", "").split(",") if "/" in network)


def _has(network: str, host: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        # A name is in no network.
        return False
