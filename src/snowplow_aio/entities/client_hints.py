"""What a browser says of itself in client hints, the headers ``Sec-CH-UA…``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from snowplow_aio.model.fields import CAMEL_CASE
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


class Brand(BaseModel):
    """
    One of the names that a browser goes by.

    Args:
        brand: The name; at most 4,096 characters.

        version: Its version; at most 128 characters.

    Raises pydantic.ValidationError when a value breaks one of these rules.
    """

    model_config: ClassVar[ConfigDict] = SelfDescribing.model_config

    brand: _Text
    version: Annotated[str, Field(max_length=128)]


class HttpClientHints(SelfDescribing, schema="iglu:org.ietf/http_client_hints/jsonschema/1-0-0"):
    """
    A browser and its device, as it tells them itself.

    Args:
        is_mobile: Whether it is on a mobile device.

        brands: The names it goes by: `Brand`, or a dict with the same fields.

        architecture: The processor's architecture; this and all below at most 4,096 characters.

        model: The device's model.

        platform: The operating system.

        platform_version: The operating system's version.

        ua_full_version: The browser's full version.

    Raises pydantic.ValidationError when a value breaks one of these rules.
    """

    model_config: ClassVar[ConfigDict] = CAMEL_CASE

    is_mobile: bool
    brands: Sequence[Brand]
    architecture: _Text | None = None
    model: _Text | None = None
    platform: _Text | None = None
    platform_version: _Text | None = None
    ua_full_version: _Text | None = None

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Self | None:
        """
        Return what the *headers* of a request say, or None when they have no hints.

        Only Chromium's kin send hints, and only over HTTPS. What is malformed is
        left out: a visitor can send anything, and that is no reason to fail the
        request.
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
    """Return the string that the header *value* is, or None where it is none."""
    value = value.strip()
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return None
    return _plain(value[1:-1])


def _plain(text: str) -> str:
    # No header has more than ASCII here; what has cannot be sent.
    return re.sub(r"\\(.)", r"\1", text).encode("ascii", "ignore").decode()
