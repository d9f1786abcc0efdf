"""
The columns of each protocol key, and the conversions of its text.

A conversion returns the values of the columns. It raises ValueError with the
rule if the pipeline loses the event (docs/explanation/protocol.md, "Fields and
limits").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

from snowplow_aio.iglu.json_text import MAX_NUMBER_EXPONENT, JSONValue, plain_number
from snowplow_aio.model import atomic
from snowplow_aio.model.payload import PROTOCOL_KEYS

EVENT_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "se": "struct",
        "ev": "struct",
        "ue": "unstruct",
        "ad": "ad_impression",
        "tr": "transaction",
        "ti": "transaction_item",
        "pv": "page_view",
        "pp": "page_ping",
    }
)

# Java takes the digits of all scripts in the basic plane, and no other characters, for digits.
_INTEGER = re.compile(r"[+-]?\d+")
# Possessive (`++`): a number of a million digits and a letter would be tried once for each digit.
_DECIMAL = re.compile(r"[+-]?(?:\d++\.?\d*+|\.\d++)(?:[eE](?P<exponent>[+-]?\d{1,10}))?")
_DIMENSIONS = re.compile(r"([0-9]+)x([0-9]+)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BEYOND_BASIC_PLANE = re.compile(r"[\U00010000-\U0010ffff]")

# int() of the standard library refuses more than 4,300 digits.
_MAX_DIGITS = 4000


@dataclass(frozen=True, slots=True)
class Field:
    """
    The use of one protocol key.

    Args:
        columns: The enriched columns that it fills, one or two.

        convert: Returns the values of the columns for the text of the key.
    """

    columns: tuple[str, ...]
    convert: Callable[[str], tuple[JSONValue, ...]]


def clean(text: str) -> str | None:
    """Return *text* as it is stored: a tab as four spaces, no other controls, and None for an empty text."""
    return _CONTROL.sub("", text.replace("\t", "    ")) or None


def _text(text: str) -> tuple[str | None]:
    return (clean(text),)


def _address(text: str) -> tuple[str | None]:
    return (clean(re.split("[,| ]", text, maxsplit=1)[0]),)


def _integer(text: str) -> tuple[int | None]:
    if text.lower() == "null":
        return (None,)
    return (_java_integer(text, atomic.INT32_MIN, atomic.INT32_MAX, "a 32-bit integer"),)


def _java_integer(text: str, lowest: int, highest: int, form: str) -> int:
    if len(text) > _MAX_DIGITS or _INTEGER.fullmatch(text) is None or _BEYOND_BASIC_PLANE.search(text):
        raise ValueError(f"must be {form}")
    if not lowest <= int(text) <= highest:
        raise ValueError(f"must be {form}, from {lowest} to {highest}")
    return int(text)


def _decimal(text: str) -> tuple[float | str | None]:
    if text.lower() == "null":
        return (None,)
    match = _DECIMAL.fullmatch(text)
    if match is None or _BEYOND_BASIC_PLANE.search(text):
        raise ValueError("must be a decimal number")
    # The pipeline writes it in plain digits, of which a larger exponent would make too many.
    if abs(int(match["exponent"] or 0)) > MAX_NUMBER_EXPONENT:
        raise ValueError(f"must be a decimal number with an exponent within ±{MAX_NUMBER_EXPONENT}")
    return (plain_number(Decimal(text)),)


def _boolean(text: str) -> tuple[bool]:
    if text not in {"0", "1"}:
        raise ValueError("must be 0 or 1")
    return (text == "1",)


def _uuid(text: str) -> tuple[str]:
    if atomic.UUID_FORM.fullmatch(text) is None:
        raise ValueError("must be a UUID in its canonical form (8-4-4-4-12)")
    return (text.lower(),)


def timestamp(text: str) -> int:
    """
    Return the milliseconds since the epoch in *text*.

    Raises:
        ValueError: If *text* is anything else, or outside the years 0 to 9999.
    """
    form = "milliseconds since the epoch, in the years 0 to 9999"
    return _java_integer(text, atomic.TIMESTAMP_MIN, atomic.TIMESTAMP_MAX, form)


def _timestamp(text: str) -> tuple[int]:
    return (timestamp(text),)


def _dimensions(text: str) -> tuple[int, int]:
    match = _DIMENSIONS.fullmatch(text)
    if match is None:
        raise ValueError("must be WIDTHxHEIGHT in digits")
    form = "WIDTHxHEIGHT, each a 32-bit integer"
    return (
        _java_integer(match[1], 0, atomic.INT32_MAX, form),
        _java_integer(match[2], 0, atomic.INT32_MAX, form),
    )


def _platform(text: str) -> tuple[str]:
    if text not in atomic.PLATFORMS:
        raise ValueError(f"must be one of {', '.join(sorted(atomic.PLATFORMS))}")
    return (text,)


def _event(text: str) -> tuple[str]:
    if text not in EVENT_TYPES:
        raise ValueError(f"must be one of {', '.join(EVENT_TYPES)}")
    return (EVENT_TYPES[text],)


_TEXTS = {
    "aid": "app_id", "uid": "user_id", "duid": "domain_userid", "nuid": "network_userid",
    "tnuid": "network_userid", "ua": "useragent", "fp": "user_fingerprint",
    "tna": "name_tracker", "tv": "v_tracker", "cv": "v_collector",
    "lang": "br_lang", "cd": "br_colordepth", "tz": "os_timezone", "cs": "doc_charset",
    "refr": "page_referrer", "url": "page_url", "page": "page_title",
    "ev_ca": "se_category", "ev_ac": "se_action", "ev_la": "se_label", "ev_pr": "se_property",
    "se_ca": "se_category", "se_ac": "se_action", "se_la": "se_label", "se_pr": "se_property",
    "tr_id": "tr_orderid", "tr_af": "tr_affiliation", "tr_ci": "tr_city", "tr_st": "tr_state",
    "tr_co": "tr_country", "tr_cu": "tr_currency",
    "ti_id": "ti_orderid", "ti_sk": "ti_sku", "ti_na": "ti_name", "ti_nm": "ti_name",
    "ti_ca": "ti_category", "ti_cu": "ti_currency",
}  # fmt: skip
_INTEGERS = {
    "tid": "txn_id", "vid": "domain_sessionidx", "ti_qu": "ti_quantity",
    "pp_mix": "pp_xoffset_min", "pp_max": "pp_xoffset_max",
    "pp_miy": "pp_yoffset_min", "pp_may": "pp_yoffset_max",
}  # fmt: skip
_DECIMALS = {
    "se_va": "se_value", "ev_va": "se_value", "ti_pr": "ti_price",
    "tr_tt": "tr_total", "tr_tx": "tr_tax", "tr_sh": "tr_shipping",
}  # fmt: skip
_BOOLEANS = {
    "cookie": "br_cookies", "f_pdf": "br_features_pdf", "f_fla": "br_features_flash",
    "f_java": "br_features_java", "f_dir": "br_features_director", "f_qt": "br_features_quicktime",
    "f_realp": "br_features_realplayer", "f_wma": "br_features_windowsmedia",
    "f_gears": "br_features_gears", "f_ag": "br_features_silverlight",
}  # fmt: skip
_TIMESTAMPS = {"dtm": "dvce_created_tstamp", "stm": "dvce_sent_tstamp", "ttm": "true_tstamp"}
_SIZES = {
    "res": ("dvce_screenwidth", "dvce_screenheight"),
    "vp": ("br_viewwidth", "br_viewheight"),
    "ds": ("doc_width", "doc_height"),
}

FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        **{key: Field((column,), _text) for key, column in _TEXTS.items()},
        **{key: Field((column,), _integer) for key, column in _INTEGERS.items()},
        **{key: Field((column,), _decimal) for key, column in _DECIMALS.items()},
        **{key: Field((column,), _boolean) for key, column in _BOOLEANS.items()},
        **{key: Field((column,), _timestamp) for key, column in _TIMESTAMPS.items()},
        **{key: Field(columns, _dimensions) for key, columns in _SIZES.items()},
        "ip": Field(("user_ipaddress",), _address),
        "eid": Field(("event_id",), _uuid),
        "sid": Field(("domain_sessionid",), _uuid),
        "p": Field(("platform",), _platform),
        "e": Field(("event",), _event),
    }
)

# Columns that are made from others have limits of their own.
_DERIVED_LIMITS = {
    **{f"page_url{part}": limit for part, limit in atomic.URL_PART_LIMITS["url"].items()},
    **{f"refr_url{part}": limit for part, limit in atomic.URL_PART_LIMITS["refr"].items()},
    "refr_domain_userid": 128,
    "event_vendor": 1000,
    "event_name": 1000,
    "event_format": 128,
    "event_version": 128,
}

LIMITS: Mapping[str, int] = MappingProxyType(
    {
        **{FIELDS[key].columns[0]: limit for key, limit in atomic.TEXT_LIMITS.items()},
        **_DERIVED_LIMITS,
    }
)

# The keys that each addition brought to the schema payload_data. The model has those of 1-0-4.
_ADDED_KEYS = {1: {"ua"}, 2: {"tnuid"}, 3: {"sid", "stm"}, 4: {"ttm"}}

# By version: the keys of an event in the body of a POST.
PAYLOAD_KEYS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        f"1-0-{addition}": PROTOCOL_KEYS.difference(
            *(keys for later, keys in _ADDED_KEYS.items() if later > addition)
        )
        for addition in range(5)
    }
)
