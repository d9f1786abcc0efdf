"""
Rule sets: rules on Iglu URIs that select events.

A rule is written as in other Snowplow trackers: an Iglu URI in which ``*`` stands
for a whole part, like ``iglu:com.acme/*/jsonschema/1-*-*``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.model.schema_key import SchemaKey

_NAME = r"(?:[a-zA-Z0-9\-_]+|\*)"
_NUMBER = r"(?:[1-9][0-9]*|0|\*)"
_FORM = re.compile(
    rf"iglu:({_NAME}(?:\.{_NAME})*)/({_NAME})/({_NAME})/({_NUMBER})-({_NUMBER})-({_NUMBER})", re.ASCII
)
_RULE = (
    "must be an Iglu URI, or a list of them, in which '*' may stand for a whole part, "
    "like 'iglu:com.acme/*/jsonschema/*-*-*'"
)


@dataclass(frozen=True, slots=True)
class SchemaRule:
    """
    An Iglu URI with wildcards.

    Args:
        vendor: The parts of the vendor. A single ``*`` is any vendor; among other parts it is
            one part.

        rest: The name, the format, and the three numbers of the version.
    """

    vendor: tuple[str, ...]
    rest: tuple[str, ...]

    @property
    def uri(self) -> str:
        """The rule as it is written."""
        name, form, *version = self.rest
        return f"iglu:{'.'.join(self.vendor)}/{name}/{form}/{'-'.join(version)}"

    def matches(self, key: SchemaKey) -> bool:
        """Return whether the rule matches *key*."""
        version = key.version
        numbers = (str(version.model), str(version.revision), str(version.addition))
        return _match(self.rest, (key.name, key.format, *numbers)) and (
            self.vendor == ("*",) or _match(self.vendor, tuple(key.vendor.split(".")))
        )


def _match(rule: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    return len(rule) == len(parts) and all(
        wanted in ("*", part) for wanted, part in zip(rule, parts, strict=True)
    )


def schema_rules(argument: str, rules: Any) -> tuple[SchemaRule, ...]:
    """
    Return *rules* as objects.

    Args:
        argument: The name of the rules in errors.

        rules: A rule, a sequence of rules, or None.

    Raises:
        ConfigurationError: If one of them is no rule.
    """
    given = [] if rules is None else [rules] if isinstance(rules, str) else rules
    if not isinstance(given, Sequence):
        raise ConfigurationError.about(argument, rules, _RULE)
    return tuple(_parsed(argument, rule) for rule in given)


def _parsed(argument: str, rule: Any) -> SchemaRule:
    match = _FORM.fullmatch(rule) if isinstance(rule, str) else None
    if match is None:
        raise ConfigurationError.about(argument, rule, _RULE)
    vendor, *rest = match.groups()
    return SchemaRule(tuple(vendor.split(".")), tuple(rest))


@dataclass(frozen=True, slots=True)
class RuleSet:
    """
    The rules on the schemas of events.

    Args:
        include: Rules of which one must match; empty for all schemas.

        exclude: Rules of which none may match.
    """

    include: tuple[SchemaRule, ...] = ()
    exclude: tuple[SchemaRule, ...] = ()

    @classmethod
    def of(cls, include: Any, exclude: Any) -> RuleSet:
        """
        Return the rule set of *include* and *exclude*, each a rule, a sequence of rules, or None.

        Raises:
            ConfigurationError: If one of them is no rule, or *include* is an empty sequence.
        """
        rules = cls(schema_rules("include", include), schema_rules("exclude", exclude))
        if include is not None and not rules.include:
            raise ConfigurationError.about("include", include, "must not be empty; None is for all events")
        return rules

    def accept(self, uri: str) -> bool:
        """Return whether the rules select the schema *uri*."""
        if not self.include and not self.exclude:
            return True
        key = SchemaKey.parse(uri)
        is_included = not self.include or any(rule.matches(key) for rule in self.include)
        return is_included and not any(rule.matches(key) for rule in self.exclude)
