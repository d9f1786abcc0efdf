"""A subject from the cookies that the JavaScript tracker and the collector set."""

from __future__ import annotations

import pytest

from snowplow_aio import Subject

SESSION = "21c2a0dd-892d-42d1-b156-3a9d4e147eef"
ID_COOKIE = f"c7aadf5c60a5dff9.1399021242.3.1399030000.1399025000.{SESSION}"


def test_the_id_cookie_has_user_session_and_its_number() -> None:
    subject = Subject.from_cookies({"other": "1", "_sp_id.1fff": ID_COOKIE, "_sp_ses.1fff": "*"})
    assert subject.domain_user_id == "c7aadf5c60a5dff9"
    assert subject.domain_session_index == 3
    assert subject.domain_session_id == SESSION
    assert subject.network_user_id is None


def test_the_collectors_cookie_has_the_network_user() -> None:
    assert Subject.from_cookies({"sp": "ecdff4d0"}).network_user_id == "ecdff4d0"


def test_cookies_may_have_other_names() -> None:
    subject = Subject.from_cookies({"_ab_id.1fff": ID_COOKIE, "nw": "n"}, prefix="_ab_", network="nw")
    assert (subject.domain_user_id, subject.network_user_id) == ("c7aadf5c60a5dff9", "n")


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        ".",
        "......",
        "a.b.c.d.e.f",
        "x" * 5000,
        "u.1.-1.2.3.nope",
        "u.1.²",
        "u.1.99999999999",
        "u.1." + "9" * 5000,
    ],
)
def test_malformed_cookies_are_no_reason_to_fail(cookie: str) -> None:
    subject = Subject.from_cookies({"_sp_id": cookie, "sp": "x" * 500})
    assert (subject.domain_session_id, subject.domain_session_index, subject.network_user_id) == (
        None,
        None,
        None,
    )


def test_no_cookies_make_an_empty_subject() -> None:
    assert repr(Subject.from_cookies({})) == "Subject()"
