"""Client hints: the headers ``Sec-CH-UA…``, in which a browser describes itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Self

from pydantic import ConfigDict, Field, ValidationError

from snowplow_aio.model.fields import CAMEL_CASE, ListOf
from snowplow_aio.model.frozen_model import FrozenModel
from snowplow_aio.model.self_describing import SelfDescribing

_Text = Annotated[str, Field(max_length=4096)]

# A list of strings with a version each, of which browsers send about three (RFC 9651 §3).
_BRAND = re.compile(r'"((?:[^"\\]|\\.)*)"\s*;\s*v="((?:[^"\\]|\\.)*)"')
_MOST_BRANDS = 16

_HEADERS: Mapping[str, str] = {
    "architecture": "sec-ch-ua-arch",
    "model": "sec-ch-ua-model",
    "platform": "sec-ch-ua-platform",
    "platform_version": "sec-ch-ua-platform-version",
    "ua_full_version": "sec-ch-ua-full-version",
}


class Brand(FrozenModel):
    """
    One of the names of a browser.

    Args:
        brand: The name; at most 4,096 characters.

        version: The version; at most 128 characters.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        A brand for `HttpClientHints`::

            Brand(brand="Chromium", version="126")
    """

    brand: _Text
    version: Annotated[str, Field(max_length=128)]


class HttpClientHints(SelfDescribing, schema="iglu:org.ietf/http_client_hints/jsonschema/1-0-0"):
    """
    A browser and its device, as the browser describes them in client hints.

    Args:
        is_mobile: Whether the device is a mobile one.

        brands: The names of the browser: `Brand` objects, or dicts with the same fields.

        architecture: The architecture of the processor; this and all below at most 4,096 characters.

        model: The model of the device.

        platform: The operating system.

        platform_version: The version of the operating system.

        ua_full_version: The full version of the browser.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Read them from the headers of a request::

            hints = HttpClientHints.from_headers(request.headers)
            await tracker.track(event, context=[hints] if hints else None)
    """

    model_config: ClassVar[ConfigDict] = CAMEL_CASE

    is_mobile: bool
    brands: Annotated[Sequence[Brand], ListOf("dicts, or of Brand objects")]
    architecture: _Text | None = None
    model: _Text | None = None
    platform: _Text | None = None
    platform_version: _Text | None = None
    ua_full_version: _Text | None = None

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Self | None:
        """
        Return the client hints of a request.

        Only Chromium and browsers that are made from it send hints, and only over HTTPS.
        A malformed hint is left out: a visitor can send anything, and no request may
        fail for it.

        Args:
            headers: The headers of the request, by name in any case.

        Returns:
            The entity; None if the request has no hints.
        """
        found = {name.lower(): value for name, value in headers.items() if name[:7].lower() == "sec-ch-"}
        mobile = found.get("sec-ch-ua-mobile", "").strip()
        pairs = _BRAND.findall(found.get("sec-ch-ua", ""))[:_MOST_BRANDS]
        if mobile not in ("?0", "?1") or not pairs:
            return None
        texts = {field: _text(found[header]) for field, header in _HEADERS.items() if header in found}
        try:
            return cls(
                is_mobile=mobile == "?1",
                brands=[Brand(brand=_plain(brand), version=_plain(version)) for brand, version in pairs],
                **{field: text for field, text in texts.items() if text is not None},
            )
        except ValidationError:
            return None


def _text(value: str) -> str | None:
    """Return the string in the header *value*, or None if it is no string."""
    value = value.strip()
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return None
    return _plain(value[1:-1])


def _plain(text: str) -> str:
    # These headers are ASCII; anything else cannot be sent.
    return re.sub(r"\\(.)", r"\1", text).encode("ascii", "ignore").decode()
