"""Texts from outside: what a log line, an error or a page shows of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowplow_aio.runtime.foreign_text import masked, shown


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("redis://:hunter2@cache:6379/0 refused", "hunter2"),
        ("https://user:p@ss@proxy:3128", "p@ss"),
        ("no answer from https://c.example.com/i?token=hunter2", "hunter2"),
        ("{'Authorization': 'Basic dXNlcjpodW50ZXIy', 'Accept': '*/*'}", "dXNlcjpodW50ZXIy"),
        ("Proxy-Authorization: hunter2", "hunter2"),
        ("<CIMultiDict('Cookie': 'sid=hunter2')>", "hunter2"),
        ("the token Bearer hunter2 is refused", "hunter2"),
        ("('X-Api-Key', 'hunter2')", "hunter2"),
    ],
)
def test_secrets_are_masked(text: str, secret: str) -> None:
    assert secret not in masked(text)
    assert "***" in shown(text)


@pytest.mark.parametrize("text", ["no connection to c.example.com:443", "status 503", "Größe 5 €", "a@b"])
def test_an_ordinary_text_stays_as_it_is(text: str) -> None:
    assert shown(text) == text


def test_line_breaks_and_control_characters_are_escaped() -> None:
    assert shown("a\r\nERROR forged\x1b[31m\u2028\ud800") == r"a\r\nERROR forged\x1b[31m\u2028\ud800"


def test_a_long_text_is_cut_and_its_length_is_said() -> None:
    assert shown("x" * 7_000) == "x" * 200 + "... (7000 characters)"
    assert shown("abcdef", limit=3) == "abc... (6 characters)"


def test_an_object_that_cannot_be_shown_is_named_by_its_type() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    assert shown(Broken()) == "a value of type Broken"


@given(st.text())
def test_every_text_becomes_one_printable_line(text: str) -> None:
    assert shown(text).isprintable()
    assert len(shown(text * 100)) < 300
