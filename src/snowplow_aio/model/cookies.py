"""The cookies of the JavaScript tracker and of the collector, read as fields of a subject."""

from __future__ import annotations

from collections.abc import Mapping

# The largest session index, 2147483647, has so many digits. `int` would also refuse to read 5,000 of them.
_MOST_DIGITS = 10


def cookie_fields(cookies: Mapping[str, str], prefix: str, network: str) -> dict[str, object]:
    """
    Return the fields of a subject that *cookies* tell; they are not checked yet.

    Args:
        cookies: The cookies of a request, by name.

        prefix: The ``cookieName`` of the JavaScript tracker.

        network: The name of the collector's cookie.
    """
    found: dict[str, object] = {"network_user_id": cookies.get(network)}
    own = f"{prefix}id"
    name = next(
        (name for name in cookies if name.startswith(own) and name[len(own) :][:1] in ("", ".")), None
    )
    if name is not None:
        # <domain user id>.<created>.<session index>.<now>.<last>.<session id>...
        parts = [*cookies[name].split("."), "", "", "", "", "", ""]
        found["domain_user_id"] = parts[0]
        is_index = parts[2].isascii() and parts[2].isdigit() and len(parts[2]) <= _MOST_DIGITS
        found["domain_session_index"] = int(parts[2]) if is_index else None
        found["domain_session_id"] = parts[5]
    return found
