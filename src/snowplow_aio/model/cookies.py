"""The cookies of the JavaScript tracker and of the collector, read as fields of a subject."""

from __future__ import annotations

from collections.abc import Mapping

# The digits of the largest session index, 2147483647, and of a time in microseconds. `int` would also
# refuse to read 5,000 of them.
_INDEX_DIGITS, _TIME_DIGITS = 10, 16

# Browsers keep 180 cookies for a site, and servers take some 64 KiB of headers. More is nobody's visitor.
MOST_COOKIES = 1_000


def read_cookies(header: str) -> dict[str, str]:
    """
    Return the cookies in the header ``Cookie``, by name; at most 1,000 of them.

    Of several with one name the first counts: its path is the longest. What another
    program has put between two of them, whatever it looks like, harms no other.
    """
    cookies: dict[str, str] = {}
    for pair in header.split(";", MOST_COOKIES)[:MOST_COOKIES]:
        name, _, value = pair.partition("=")
        cookies.setdefault(name.strip(), value.strip().strip('"'))
    return cookies


def cookie_fields(cookies: Mapping[str, str], prefix: str, network: str) -> dict[str, object]:
    """
    Return the fields of a subject that *cookies* tell; they are not checked yet.

    A site that sets the id cookie for a domain and for one above it has several:
    the one of the latest visit counts.

    Args:
        cookies: The cookies of a request, by name.

        prefix: The ``cookieName`` of the JavaScript tracker.

        network: The name of the collector's cookie.
    """
    found: dict[str, object] = {"network_user_id": cookies.get(network)}
    own = f"{prefix}id"
    ids = [
        # <domain user id>.<created>.<session index>.<now>.<last>.<session id>...
        [*value.split(".", 6)[:6], "", "", "", "", "", ""]
        for name, value in cookies.items()
        if name.startswith(own) and name[len(own) :][:1] in ("", ".")
    ]
    if ids:
        # Of equally late ones, the first.
        parts = max(ids, key=_visited_at)
        found["domain_user_id"] = parts[0]
        found["domain_session_index"] = _number(parts[2], _INDEX_DIGITS)
        found["domain_session_id"] = parts[5]
    return found


def _visited_at(parts: list[str]) -> tuple[int, int]:
    """Return the times of this visit and of the one before; 0 for one that cannot be read."""
    return _number(parts[3], _TIME_DIGITS) or 0, _number(parts[4], _TIME_DIGITS) or 0


def _number(text: str, most_digits: int) -> int | None:
    is_number = text.isascii() and text.isdigit() and len(text) <= most_digits
    return int(text) if is_number else None
