"""One event as enrich makes it, with its errors and warnings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.conformance.addresses import PARTS, parse_query_if_legal, split_address
from tests.conformance.doubts import doubts
from tests.conformance.json_schema import (
    Registry,
    SchemaNotFoundError,
    decode_base64,
    is_too_deep,
    parse_json,
    split_self_describing,
)
from tests.conformance.protocol import (
    BASE64_KEYS,
    CONTEXTS_KEYS,
    FIELDS,
    FIXED_SCHEMAS,
    UNSTRUCT_KEYS,
    ForbiddenError,
    convert,
    stored_text,
    timestamp,
    utf16_length,
)


class Enriched:
    """
    An event on its way through enrich.

    Attributes:
        fields: The enriched fields.

        stages: The stages that lose it, in order; a stage may be there twice.

        schema: Of the event.

        entities: The schemas of its entities.
    """

    def __init__(
        self, registry: Registry, limits: Mapping[str, int], *, depth: int, allow_unknown_schema: bool
    ) -> None:
        self._registry = registry
        self._limits = limits
        self._depth = depth
        self._allow_unknown = allow_unknown_schema
        self.fields: dict[str, Any] = {}
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.stages: list[str] = []
        self.schema: str | None = None
        self.entities: list[str] = []

    def read(self, parameters: Mapping[str, str | None], headers: Mapping[str, str], *, posted: bool) -> None:
        """Put the event that was sent as *parameters* through all stages."""
        anonymous = "sp-anonymous" in headers
        self._read_fields(parameters, posted=posted)
        self._read_envelopes(parameters)
        self._read_page(parameters, headers.get("referer"))
        self._read_referrer()
        self._name()
        if not parameters.get("ua") and "user-agent" in headers:
            self.fields["useragent"] = headers["user-agent"]
        if not parameters.get("ip") and anonymous:
            self.fields["user_ipaddress"] = "unknown"
        self._measure()
        self.warnings += doubts(parameters, self.fields, anonymous=anonymous)

    def _fail(self, stage: str, *errors: str) -> None:
        self.errors += errors
        self.stages.append(stage)

    def _read_fields(self, parameters: Mapping[str, str | None], *, posted: bool) -> None:
        for key, text in parameters.items():
            if text is None or key in {*CONTEXTS_KEYS, *UNSTRUCT_KEYS}:
                continue
            if key in FIELDS:
                self._read_field(key, text)
            elif not posted:
                self.warnings.append(f"{key}: ignored by enrich")
        if parameters.get("tnuid"):
            self.fields["network_userid"] = stored_text(parameters["tnuid"] or "")

    def _read_field(self, key: str, text: str) -> None:
        field, kind = FIELDS[key]
        try:
            value = convert(kind, text)
        except ForbiddenError as error:
            self._fail("schema", f"{key}={text[:80]!r}: {error}")
            return
        if value != text:
            change = {
                "str": f"stored as {str(value)[:40]!r} (tabs become 4 spaces, control characters go)",
                "uuid": "stored in lower case",
                "ip": f"cut to {value!r}",
            }
            self.warnings += [f"{key}: {change[kind]}"] if kind in change else []
        self.fields[field] = value

    def _read_envelopes(self, parameters: Mapping[str, str | None]) -> None:
        unstruct = _text(parameters, UNSTRUCT_KEYS)
        if unstruct is not None:
            for event in self._opened("unstruct", "unstruct_event", unstruct):
                self.schema = self._schema_of("unstruct", event)
        contexts = _text(parameters, CONTEXTS_KEYS)
        if contexts is not None:
            for index, entity in enumerate(self._opened("contexts", "contexts", contexts)):
                schema = self._schema_of(f"contexts[{index}]", entity)
                self.entities += [] if schema is None else [schema]

    def _opened(self, field: str, name: str, text: str) -> list[Any]:
        """Return the self-describing JSON in an envelope; nothing when the envelope is refused."""
        try:
            data = self._envelope(name, text)
        except ForbiddenError as refused:
            self._fail("schema", *(f"{field}{error}" for error in refused.args))
            return []
        return data if isinstance(data, list) else [data]

    def _envelope(self, name: str, text: str) -> Any:
        try:
            document = parse_json(text)
        except (ValueError, RecursionError) as error:
            raise ForbiddenError(f" is not JSON: {error}") from None
        if is_too_deep(document, self._depth):
            raise ForbiddenError(": maximum allowed JSON depth exceeded")
        try:
            uri, data = split_self_describing(document)
        except ForbiddenError as error:
            raise ForbiddenError(f": {error}") from None
        if not re.match(rf"iglu:com\.snowplowanalytics\.snowplow/{name}/jsonschema/1-0-\d+\Z", uri):
            raise ForbiddenError(f": {uri} is not {name} 1-0-*")
        try:
            errors = self._registry.errors(uri, data)
        except SchemaNotFoundError:
            raise ForbiddenError(f": schema {uri} not found") from None
        if errors:
            raise ForbiddenError(*(f" {error}" for error in errors))
        return data

    def _schema_of(self, place: str, value: Any) -> str | None:
        """Return the schema of a self-describing JSON *value*; None when the value is refused."""
        try:
            uri, data = split_self_describing(value)
        except ForbiddenError as error:
            self._fail("schema", f"{place}: {error}")
            return None
        try:
            errors = self._registry.errors(uri, data)
        except SchemaNotFoundError:
            if self._allow_unknown:
                self.warnings.append(f"{place}: schema {uri} is not in this registry, not checked")
                return uri
            self._fail("schema", f"{place}: schema {uri} not found")
            return None
        if errors:
            self._fail("schema", *(f"{place} {uri} {error}" for error in errors))
            return None
        return uri

    def _read_page(self, parameters: Mapping[str, str | None], referer: str | None) -> None:
        page = self.fields.get("page_url") or referer
        if not page:
            return
        parts = split_address(page)
        if parts is None:
            self._fail("enrichment", "page_url: no parser reads it")
            return
        if parts["whole"] != page.replace(" ", "%20"):
            self.warnings.append(
                "url: refused by java.net.URI, left to enrich's lenient parser (it is re-encoded)"
            )
        self.fields["page_url"] = parts["whole"]
        self.fields |= {f"page_url{name}": parts[name] for name in PARTS}
        if parameters.get("url") and parts["scheme"] is None:
            self.warnings.append(
                "url has no scheme: page_urlscheme and page_urlhost stay empty, the host lands in the path"
            )
        # Of several with one name, the last counts.
        found = {name: value or "" for name, value in parse_query_if_legal(parts["query"] or "")}
        self._check_cross_domain(found.get("_sp", ""))

    def _check_cross_domain(self, value: str) -> None:
        fields = value.split(".")
        if len(fields) > 7:
            return
        self.fields["refr_domain_userid"] = stored_text(fields[0])
        if len(fields) == 1 or not fields[1]:
            return
        try:
            timestamp(fields[1])
        except ForbiddenError as error:
            self._fail("enrichment", f"url _sp parameter: {error}")

    def _read_referrer(self) -> None:
        if not self.fields.get("page_referrer"):
            return
        parts = split_address(self.fields["page_referrer"])
        if parts is None:
            self._fail("enrichment", "page_referrer: no parser reads it")
            return
        if parts["whole"] != self.fields["page_referrer"].replace(" ", "%20"):
            self.warnings.append("refr: refused by java.net.URI, left to enrich's lenient parser")
        self.fields |= {f"refr_url{name}": parts[name] for name in PARTS}

    def _name(self) -> None:
        event = self.fields.get("event")
        if event is None and not any(error.startswith("e=") for error in self.errors):
            self._fail("enrichment", "e is missing: no event type, no schema can be extracted")
        elif event == "ad_impression":
            self._fail("enrichment", "e=ad: no schema is known for ad_impression")
        self.schema = FIXED_SCHEMAS.get(event or "", self.schema)

    def _measure(self) -> None:
        for field, limit in self._limits.items():
            text = self.fields.get(field)
            if isinstance(text, str) and utf16_length(text) > limit:
                self._fail("atomic", f"{field}: {utf16_length(text)} > {limit} characters")


def _text(parameters: Mapping[str, str | None], keys: tuple[str, ...]) -> str | None:
    """Return the text of an envelope: where both keys are there, of the later one."""
    found = [(key, text) for key, text in parameters.items() if key in keys and text is not None]
    if not found:
        return None
    key, text = found[-1]
    return decode_base64(text) if key in BASE64_KEYS else text
