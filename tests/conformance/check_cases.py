"""The conformance cases, and the comparison of a case with the payloads that a tracker made."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.conformance.json_schema import Registry
from tests.conformance.protocol import BASE64_KEYS, PLATFORMS
from tests.conformance.validate import Checker, Verdict

CASES = Path(__file__).parent / "cases.json"
TP2 = "/com.snowplowanalytics.snowplow/tp2"
PAYLOAD_DATA = "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4"

# The fields that a payload has when a case says nothing about them.
_DEFAULTS = {
    "tv": "test-1.0",
    "p": "srv",
    "aid": "app",
    "eid": "5628c4c6-3f8a-43f8-a09f-6ff68f68dfb6",
    "dtm": "1700000000000",
    "stm": "1700000000005",
}
# A value for each placeholder of the cases.
_PLACEHOLDERS = {
    "$uuid": _DEFAULTS["eid"],
    "$ms": _DEFAULTS["dtm"],
    "$ms>=dtm": _DEFAULTS["stm"],
    "$tracker_version": "test-1.0",
    "$platform": "srv",
}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MILLISECONDS = re.compile(r"\d{13}")
_URL_SAFE_BASE64 = re.compile(r"[A-Za-z0-9_-]+={0,2}")
_MAX_VERSION_LENGTH = 100


def load() -> dict[str, Any]:
    """Return all cases: ``cases`` of trackers, ``wire`` for collectors, and what is ``about`` them."""
    cases: dict[str, Any] = json.loads(CASES.read_text("utf-8"))
    return cases


def expand(request: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return *request* of a wire case as it is sent.

    Big requests are stored as a recipe: ``body_spec`` with ``schema``, ``event``,
    ``count``, ``pad_key`` and ``pad``, or ``query_pad`` with a prefix and a length.
    """
    expanded = dict(request)
    spec = expanded.pop("body_spec", None)
    if spec:
        event = {**spec["event"], spec["pad_key"]: "a" * spec["pad"]}
        expanded["body"] = json.dumps({"schema": spec["schema"], "data": [event] * spec["count"]})
    pad = expanded.pop("query_pad", None)
    if pad:
        expanded["query"] = pad[0] + "a" * pad[1]
    return expanded


def compare(expected: Mapping[str, Any], sent: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the differences between a case's expectation and the payloads that a tracker made."""
    if "tracker_rejects" in expected:
        return [f"should have been refused: {expected['tracker_rejects']}"] if sent else []
    parts = _parts(expected)
    if len(parts) != len(sent):
        return [f"expected {len(parts)} events, got {len(sent)}"]
    return [
        difference
        for part, payload in zip(parts, sent, strict=True)
        for difference in (*_different_fields(part, payload), *_different_json(part, payload))
    ]


def _parts(expected: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return an expectation for each event of a case."""
    return [{"payload": payload} for payload in expected["events"]] if "events" in expected else [expected]


def _different_fields(expected: Mapping[str, Any], payload: Mapping[str, Any]) -> Iterator[str]:
    for key, value in payload.items():
        if not isinstance(value, str):
            yield f"{key}: {value!r} is not a string"
    for key, want in expected["payload"].items():
        if key not in payload:
            yield f"{key} is missing"
        elif not _matches(want, payload[key], payload):
            yield f"{key}: expected {want!r}, got {payload[key]!r}"
    for key in expected.get("absent", ()):
        if key in payload:
            yield f"{key} must be absent, got {payload[key]!r}"
    for key, choices in expected.get("accept", {}).items():
        if payload.get(key) not in choices:
            yield f"{key}: expected one of {choices}, got {payload.get(key)!r}"


def _different_json(expected: Mapping[str, Any], payload: Mapping[str, Any]) -> Iterator[str]:
    for key, want in expected.get("json", {}).items():
        try:
            found = _decoded(payload, key)
        except (KeyError, ValueError) as error:
            yield f"{key}: {error!r}"
            continue
        if not _matches(want, found, payload):
            yield f"{key}: expected {want!r}, got {found!r}"


def _decoded(payload: Mapping[str, Any], key: str) -> Any:
    text = payload[key]
    if key in BASE64_KEYS:
        if not _URL_SAFE_BASE64.fullmatch(text):
            raise ValueError(f"{key} is not url-safe base64")
        text = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("utf-8")
    return json.loads(text)


def _matches(want: Any, found: Any, payload: Mapping[str, Any]) -> bool:
    match want:
        case str() if want in _PLACEHOLDERS:
            return isinstance(found, str) and _fills(want, found, payload)
        case dict():
            return (
                isinstance(found, dict)
                and want.keys() == found.keys()
                and all(_matches(value, found[name], payload) for name, value in want.items())
            )
        case list():
            return (
                isinstance(found, list)
                and len(want) == len(found)
                and all(_matches(ours, theirs, payload) for ours, theirs in zip(want, found, strict=True))
            )
        case bool() | None:
            return want is found
        case _:
            return not isinstance(found, bool) and bool(want == found)


def _fills(placeholder: str, text: str, payload: Mapping[str, Any]) -> bool:
    match placeholder:
        case "$uuid":
            return _UUID.fullmatch(text) is not None
        case "$ms":
            return _MILLISECONDS.fullmatch(text) is not None
        case "$ms>=dtm":
            return _MILLISECONDS.fullmatch(text) is not None and int(text) >= int(payload["dtm"])
        case "$tracker_version":
            return 0 < len(text) <= _MAX_VERSION_LENGTH
        case _:
            return text in PLATFORMS


def disagreements(registry: Registry) -> list[str]:
    """Return where the cases and the oracle disagree: a payload that it refuses, or another verdict."""
    cases = load()
    names = [case["name"] for case in cases["cases"] + cases["wire"]]
    found = [f"duplicate name {name}" for name in set(names) if names.count(name) > 1]
    tolerant = Checker(registry, allow_unknown_schema=True)
    for case in cases["cases"]:
        if "tracker_rejects" not in case["expected"]:
            found += [f"{case['name']}: {fault}" for fault in _faults(case["expected"], tolerant)]
    strict = Checker(registry)
    for case in cases["wire"]:
        verdicts = list(strict.request(0, expand(case["request"])))
        if not _is_expected(case["expected"], verdicts):
            found.append(f"wire {case['name']}: expected {case['expected']}, got {verdicts[:3]}")
    return found


def _faults(expected: Mapping[str, Any], checker: Checker) -> Iterator[str]:
    payloads = [_example(part) for part in _parts(expected)]
    yield from compare(expected, payloads)
    body = json.dumps({"schema": PAYLOAD_DATA, "data": payloads}, ensure_ascii=False)
    headers = {"Content-Type": "application/json"}
    for verdict in checker.request(0, {"method": "POST", "path": TP2, "headers": headers, "body": body}):
        if not verdict.is_valid:
            yield f"not accepted: {verdict.errors}"


def _example(expected: Mapping[str, Any]) -> dict[str, str]:
    """Return a payload that meets an expectation."""
    payload: dict[str, str] = {**_DEFAULTS, **_filled(expected["payload"])}
    for key, choices in expected.get("accept", {}).items():
        payload[key] = choices[0]
    for key, document in expected.get("json", {}).items():
        text = json.dumps(_filled(document), ensure_ascii=False)
        payload[key] = base64.urlsafe_b64encode(text.encode()).decode() if key in BASE64_KEYS else text
    return {key: text for key, text in payload.items() if key not in expected.get("absent", ())}


def _filled(value: Any) -> Any:
    match value:
        case str():
            return _PLACEHOLDERS.get(value, value)
        case dict():
            return {name: _filled(item) for name, item in value.items()}
        case list():
            return [_filled(item) for item in value]
        case _:
            return value


def _is_expected(expected: Mapping[str, Any], verdicts: Sequence[Verdict]) -> bool:
    if not expected.get("rejected"):
        stage = expected.get("stage")
        return [verdict.is_valid for verdict in verdicts] == expected["valid"] and all(
            verdict.index is not None and (verdict.is_valid or stage in {None, verdict.stage})
            for verdict in verdicts
        )
    if len(verdicts) != 1:
        return False
    (verdict,) = verdicts
    return (
        verdict.index is None
        and (verdict.stage, verdict.status) == (expected["stage"], expected["status"])
        and expected.get("events_lost", verdict.events_lost) == verdict.events_lost
    )
