"""
The tracker protocol as the oracle knows it: limits, keys, and the reading of values.

Written from the behaviour of enrich 6.10.0 and stream-collector 3.4.0; no code
is copied. Nothing here comes from `snowplow_aio`, so that the two can disagree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

# enrich: modules/common/src/main/resources/reference.conf.
ATOMIC_LIMITS = {
    "app_id": 255, "platform": 255, "event": 128, "event_id": 36, "name_tracker": 128,
    "v_tracker": 100, "v_collector": 100, "user_id": 255, "user_ipaddress": 128,
    "user_fingerprint": 128, "domain_userid": 128, "network_userid": 128,
    "page_url": 10000, "page_title": 2000, "page_referrer": 10000, "page_urlscheme": 16,
    "page_urlhost": 255, "page_urlpath": 3000, "page_urlquery": 6000, "page_urlfragment": 3000,
    "refr_urlscheme": 16, "refr_urlhost": 255, "refr_urlpath": 6000, "refr_urlquery": 6000,
    "refr_urlfragment": 3000, "se_category": 1000, "se_action": 1000, "se_label": 4096,
    "se_property": 1000, "tr_orderid": 255, "tr_affiliation": 255, "tr_city": 255,
    "tr_state": 255, "tr_country": 255, "ti_orderid": 255, "ti_sku": 255, "ti_name": 255,
    "ti_category": 255, "useragent": 1000, "br_lang": 255, "br_colordepth": 12,
    "os_timezone": 255, "doc_charset": 128, "tr_currency": 3, "ti_currency": 3,
    "domain_sessionid": 128, "event_vendor": 1000, "event_name": 1000, "event_format": 128,
    "event_version": 128, "refr_domain_userid": 128,
    "mkt_medium": 255, "mkt_source": 255, "mkt_term": 255, "mkt_content": 500,
    "mkt_campaign": 255, "mkt_clickid": 1000,
}  # fmt: skip

# enrich's common reference.conf. The apps that are built on it allow 50.
MAX_JSON_DEPTH = 40

# The collector's settings under `networking`: maxRequestLineLength, maxHeadersLength,
# maxPayloadSize (a size violation, answered 200), dropPayloadSize (answered 413).
MAX_REQUEST_LINE = 20_480
MAX_HEADERS = 40_960
MAX_PAYLOAD = 1_048_576
DROP_PAYLOAD = 2_097_152

SINK_MAX_BYTES = {
    "kinesis": 1_000_000, "kafka": 1_000_000, "nsq": 1_000_000, "sqs": 192_000, "pubsub": 10_000_000
}  # fmt: skip

CONTENT_TYPES = frozenset({"application/json", "application/json; charset=utf-8"})
PLATFORMS = frozenset({"web", "iot", "app", "mob", "pc", "cnsl", "tv", "srv", "headset"})
EVENT_TYPES = {
    "se": "struct", "ev": "struct", "ue": "unstruct", "ad": "ad_impression", "tr": "transaction",
    "ti": "transaction_item", "pv": "page_view", "pp": "page_ping",
}  # fmt: skip
FIXED_SCHEMAS = {
    "page_view": "iglu:com.snowplowanalytics.snowplow/page_view/jsonschema/1-0-0",
    "page_ping": "iglu:com.snowplowanalytics.snowplow/page_ping/jsonschema/1-0-0",
    "transaction": "iglu:com.snowplowanalytics.snowplow/transaction/jsonschema/1-0-0",
    "transaction_item": "iglu:com.snowplowanalytics.snowplow/transaction_item/jsonschema/1-0-0",
    "struct": "iglu:com.google.analytics/event/jsonschema/1-0-0",
}

# Key -> the enriched field and the kind of its value.
FIELDS: Mapping[str, tuple[str, str]] = {
    "e": ("event", "event"), "ip": ("user_ipaddress", "ip"), "aid": ("app_id", "str"),
    "p": ("platform", "platform"), "tid": ("txn_id", "int"), "uid": ("user_id", "str"),
    "duid": ("domain_userid", "str"), "nuid": ("network_userid", "str"),
    "tnuid": ("network_userid", "str"), "ua": ("useragent", "str"),
    "fp": ("user_fingerprint", "str"), "vid": ("domain_sessionidx", "int"),
    "sid": ("domain_sessionid", "uuid"), "dtm": ("dvce_created_tstamp", "tstamp"),
    "ttm": ("true_tstamp", "tstamp"), "stm": ("dvce_sent_tstamp", "tstamp"),
    "tna": ("name_tracker", "str"), "tv": ("v_tracker", "str"), "cv": ("v_collector", "str"),
    "lang": ("br_lang", "str"), "f_pdf": ("br_features_pdf", "bool"),
    "f_fla": ("br_features_flash", "bool"), "f_java": ("br_features_java", "bool"),
    "f_dir": ("br_features_director", "bool"), "f_qt": ("br_features_quicktime", "bool"),
    "f_realp": ("br_features_realplayer", "bool"), "f_wma": ("br_features_windowsmedia", "bool"),
    "f_gears": ("br_features_gears", "bool"), "f_ag": ("br_features_silverlight", "bool"),
    "cookie": ("br_cookies", "bool"), "res": ("dvce_screen", "dims"),
    "cd": ("br_colordepth", "str"), "tz": ("os_timezone", "str"),
    "refr": ("page_referrer", "str"), "url": ("page_url", "str"), "page": ("page_title", "str"),
    "cs": ("doc_charset", "str"), "ds": ("doc", "dims"), "vp": ("br_view", "dims"),
    "eid": ("event_id", "uuid"),
    "ev_ca": ("se_category", "str"), "ev_ac": ("se_action", "str"), "ev_la": ("se_label", "str"),
    "ev_pr": ("se_property", "str"), "ev_va": ("se_value", "dec"),
    "se_ca": ("se_category", "str"), "se_ac": ("se_action", "str"), "se_la": ("se_label", "str"),
    "se_pr": ("se_property", "str"), "se_va": ("se_value", "dec"),
    "tr_id": ("tr_orderid", "str"), "tr_af": ("tr_affiliation", "str"),
    "tr_tt": ("tr_total", "dec"), "tr_tx": ("tr_tax", "dec"), "tr_sh": ("tr_shipping", "dec"),
    "tr_ci": ("tr_city", "str"), "tr_st": ("tr_state", "str"), "tr_co": ("tr_country", "str"),
    "tr_cu": ("tr_currency", "str"),
    "ti_id": ("ti_orderid", "str"), "ti_sk": ("ti_sku", "str"), "ti_na": ("ti_name", "str"),
    "ti_nm": ("ti_name", "str"), "ti_ca": ("ti_category", "str"), "ti_pr": ("ti_price", "dec"),
    "ti_qu": ("ti_quantity", "int"), "ti_cu": ("ti_currency", "str"),
    "pp_mix": ("pp_xoffset_min", "int"), "pp_max": ("pp_xoffset_max", "int"),
    "pp_miy": ("pp_yoffset_min", "int"), "pp_may": ("pp_yoffset_max", "int"),
}  # fmt: skip

# Keys whose value is an envelope; the second of each pair is base64.
CONTEXTS_KEYS = ("co", "cx")
UNSTRUCT_KEYS = ("ue_pr", "ue_px")
BASE64_KEYS = ("cx", "ue_px")

UUID_FORM = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\Z")
_INTEGER = re.compile(r"[+-]?\d+\Z")
_DECIMAL = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE]([+-]?\d{1,10}))?\Z")
_DIMENSIONS = re.compile(r"([0-9]+)x([0-9]+)\Z")
_CONTROL = re.compile("[\x00-\x1f\x7f]")

# The years 0000 to 9999.
_FIRST_TIMESTAMP, _LAST_TIMESTAMP = -62_167_219_200_000, 253_402_300_799_999


class ForbiddenError(Exception):
    """The pipeline refuses a value."""


def utf16_length(text: str) -> int:
    """Return the length of *text* as java.lang.String counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def stored_text(text: str) -> str | None:
    """Return *text* as enrich stores it in a tab-separated file."""
    return _CONTROL.sub("", text.replace("\t", "    ")) or None


def java_integer(text: str, bits: int = 32) -> int:
    """Return the integer that Java reads in *text*."""
    if not _INTEGER.match(text) or any(ord(sign) > 0xFFFF for sign in text):
        raise ForbiddenError("not an integer")
    value = int(text)
    if not -(1 << (bits - 1)) <= value < (1 << (bits - 1)):
        raise ForbiddenError(f"out of the {bits}-bit range")
    return value


def java_decimal(text: str) -> Decimal:
    """Return the decimal that Java reads in *text*."""
    match = _DECIMAL.match(text)
    if not match or any(ord(sign) > 0xFFFF for sign in text):
        raise ForbiddenError("not a decimal number")
    if match.group(1) and abs(int(match.group(1))) > 5000:
        raise ForbiddenError("absurd exponent")
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ForbiddenError("not a decimal number") from None


def timestamp(text: str) -> int:
    """Return the milliseconds since the epoch in *text*."""
    try:
        value = java_integer(text, 64)
    except ForbiddenError:
        raise ForbiddenError("not in the expected format: ms since epoch") from None
    if not _FIRST_TIMESTAMP <= value <= _LAST_TIMESTAMP:
        raise ForbiddenError("year outside 0..9999")
    return value


def _integer(text: str) -> int | None:
    return None if text.lower() == "null" else java_integer(text)


def _decimal(text: str) -> Decimal | None:
    return None if text.lower() == "null" else java_decimal(text)


def _boolean(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ForbiddenError("must be 0 or 1")
    return text == "1"


def _uuid(text: str) -> str:
    if not UUID_FORM.match(text):
        raise ForbiddenError("not a canonical UUID")
    return text.lower()


def _dimensions(text: str) -> tuple[int, int]:
    match = _DIMENSIONS.match(text)
    if not match:
        raise ForbiddenError(r"does not match (\d+)x(\d+)")
    return java_integer(match.group(1)), java_integer(match.group(2))


def _platform(text: str) -> str:
    if text not in PLATFORMS:
        raise ForbiddenError("not a valid platform")
    return text


def _event(text: str) -> str:
    if text not in EVENT_TYPES:
        raise ForbiddenError("not a valid event type")
    return EVENT_TYPES[text]


def _address(text: str) -> str | None:
    return stored_text(re.split(r"[,| ]", text, maxsplit=1)[0])


_CONVERSIONS: Mapping[str, Callable[[str], Any]] = {
    "str": stored_text,
    "int": _integer,
    "dec": _decimal,
    "bool": _boolean,
    "uuid": _uuid,
    "tstamp": timestamp,
    "dims": _dimensions,
    "platform": _platform,
    "event": _event,
    "ip": _address,
}


def convert(kind: str, text: str) -> Any:
    """Return the value of a field of *kind* that enrich reads in *text*."""
    return _CONVERSIONS[kind](text)
