"""A subject from the cookies that the JavaScript tracker and the collector set."""

from __future__ import annotations

import pytest

from snowplow_aio import Subject
from snowplow_aio.model.cookies import MOST_COOKIES, read_cookies

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


LATEST = f"visitor.1399021242.7.1399990000.1399980000.{SESSION}"


@pytest.mark.parametrize(
    "cookies",
    [
        {"_sp_id.1fff": ID_COOKIE, "_sp_id.2abc": LATEST},
        {"_sp_id.2abc": LATEST, "_sp_id.1fff": ID_COOKIE},
        {
            "_sp_id.0": "broken",
            "_sp_id.1": "old.1.1.soon.2.x",
            "_sp_id": LATEST,
            "_sp_idx.9": "no.1.1.9999999999",
        },
        {"_sp_id.1": f"far.1.1.{'9' * 5000}.1.x", "_sp_id.2": LATEST},
    ],
)
def test_of_several_id_cookies_the_latest_visit_counts(cookies: dict[str, str]) -> None:
    subject = Subject.from_cookies(cookies)

    assert (subject.domain_user_id, subject.domain_session_index) == ("visitor", 7)
    assert subject.domain_session_id == SESSION


def test_of_visits_at_the_same_time_the_first_counts() -> None:
    one, other = ID_COOKIE, ID_COOKIE.replace("c7aadf5c60a5dff9", "other")

    assert Subject.from_cookies({"_sp_id.1": one, "_sp_id.2": other}).domain_user_id == "c7aadf5c60a5dff9"


@pytest.mark.parametrize(
    "header",
    [
        'g_state={"i_l":0}; sp=n-1; other=1',
        "a,b=1; sp=n-1",
        'quoted="a\\"b; sp=n-1',
        "with blank=a b; sp=n-1",
        "name=ünïcode; sp=n-1",
        "path=/; expires=never; domain; secure; sp=n-1",
        "; ;;=; sp=n-1",
        'sp="n-1"',
        "sp=n-1; sp=of-a-domain-above",
        "a=1;" * 900 + "sp=n-1",
    ],
)
def test_a_neighbour_cannot_hide_a_cookie(header: str) -> None:
    assert read_cookies(header)["sp"] == "n-1"


def test_a_header_of_cookies_is_read_up_to_a_bound() -> None:
    assert len(read_cookies("".join(f"c{i}=1;" for i in range(100_000)))) == MOST_COOKIES
