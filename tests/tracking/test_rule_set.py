"""Rules on Iglu URIs."""

from __future__ import annotations

from typing import Any

import pytest

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.tracking.rule_set import RuleSet

SAVE = "iglu:com.acme/save_game/jsonschema/1-0-2"


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        (SAVE, True),
        ("iglu:com.acme/*/jsonschema/*-*-*", True),
        ("iglu:com.acme/save_game/jsonschema/1-*-*", True),
        ("iglu:com.acme/save_game/*/1-0-2", True),
        ("iglu:*/*/jsonschema/*-*-*", True),
        ("iglu:com.*/*/jsonschema/*-*-*", True),
        ("iglu:*.acme/*/jsonschema/*-*-*", True),
        ("iglu:com.acme/load_game/jsonschema/*-*-*", False),
        ("iglu:com.acme/save_game/jsonschema/2-*-*", False),
        ("iglu:com.acme/save_game/jsonschema/*-*-0", False),
        ("iglu:com.acme.*/*/jsonschema/*-*-*", False),
        ("iglu:com/*/jsonschema/*-*-*", False),
        ("iglu:com.acm/*/jsonschema/*-*-*", False),
        ("iglu:com.acme/save_game/avro/*-*-*", False),
        ("iglu:com.acme/save_game/jsonschema/1-0-20", False),
    ],
)
def test_a_star_stands_for_a_whole_part(rule: str, matches: bool) -> None:
    assert RuleSet.of(rule, None).accept(SAVE) is matches
    assert RuleSet.of(None, rule).accept(SAVE) is not matches


@pytest.mark.parametrize(
    ("include", "exclude", "accepted"),
    [
        (None, None, True),
        (None, [], True),
        ([SAVE, "iglu:com.other/*/jsonschema/*-*-*"], None, True),
        (("iglu:com.other/*/jsonschema/*-*-*",), None, False),
        ("iglu:com.acme/*/jsonschema/*-*-*", SAVE, False),
        ("iglu:com.acme/*/jsonschema/*-*-*", "iglu:com.acme/*/jsonschema/2-*-*", True),
    ],
)
def test_one_that_includes_must_match_and_none_that_excludes(
    include: Any, exclude: Any, accepted: bool
) -> None:
    assert RuleSet.of(include, exclude).accept(SAVE) is accepted


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "*",
        "com.acme/*/jsonschema/*-*-*",
        "iglu:com.acme/*/jsonschema/*",
        "iglu:com.acme/save*/jsonschema/*-*-*",
        "iglu:com.acme/*/jsonschema/01-*-*",
        "iglu:com..acme/*/jsonschema/*-*-*",
        "iglu:com.acme/*/jsonschema/*-*-*\n",
        "iglu:com.acme/*/jsonschema/*-*-*/",
        5,
        [5],
        {SAVE},
    ],
)
def test_what_is_no_rule_is_refused(rule: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^include: must be an Iglu URI, or a list of them"):
        RuleSet.of(rule, None)
    with pytest.raises(ConfigurationError, match=r"^exclude: must be an Iglu URI, or a list of them"):
        RuleSet.of(None, rule)


def test_no_rule_at_all_is_none_and_not_an_empty_list() -> None:
    with pytest.raises(ConfigurationError, match=r"^include: must not be empty; None is for all events"):
        RuleSet.of([], None)
