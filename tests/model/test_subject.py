"""Whom an event is about."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Mapping
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID

import pytest

from snowplow_aio import CLEAR, InvalidEventError, PageView, Subject, current_subject, use_subject
from tests.conformance.oracle import Oracle
from tests.model.sent import sent, tracker_and_emitter

VIEW = PageView(page_url="https://example.com/")
SESSION = "5cea9899-10df-4ccf-bf66-8c36f4a4bba2"


class System(str, Enum):  # noqa: UP042 - prints as its name
    PHONE = "mob"


class Depth(IntEnum):
    TRUE = 24

    def __str__(self) -> str:
        return self.name


def fields_of(subject: Subject) -> Mapping[str, str]:
    """Return the protocol fields that *subject* adds to an event."""
    without = sent(VIEW)
    return {
        key: value
        for key, value in sent(VIEW, subject=subject).items()
        if key not in ("eid", "dtm") and without.get(key) != value
    }


GOOD = [
    ("platform", ("mob",), "p", "mob"),
    ("platform", (System.PHONE,), "p", "mob"),
    ("user_id", ("user-12345",), "uid", "user-12345"),
    ("user_id", (System.PHONE,), "uid", "mob"),
    ("screen_resolution", (1366, 768), "res", "1366x768"),
    ("viewport", (300, 200), "vp", "300x200"),
    ("viewport", (Depth.TRUE, 2**31 - 1), "vp", "24x2147483647"),
    ("color_depth", (32,), "cd", "32"),
    ("color_depth", (Depth.TRUE,), "cd", "24"),
    ("timezone", ("Europe/London",), "tz", "Europe/London"),
    ("lang", ("en",), "lang", "en"),
    ("ip_address", ("2001:db8::1",), "ip", "2001:db8::1"),
    ("useragent", ("Mozilla/5.0 (X11)",), "ua", "Mozilla/5.0 (X11)"),
    ("domain_user_id", ("c7aadf5c60a5dff9",), "duid", "c7aadf5c60a5dff9"),
    ("network_user_id", ("ecdff4d0",), "tnuid", "ecdff4d0"),
    ("domain_session_id", (SESSION,), "sid", SESSION),
    ("domain_session_id", (UUID(SESSION),), "sid", SESSION),
    ("domain_session_id", (SESSION.upper(),), "sid", SESSION),
    ("domain_session_index", (0,), "vid", "0"),
    ("domain_session_index", (2**31 - 1,), "vid", "2147483647"),
]
good = pytest.mark.parametrize(("name", "arguments", "key", "text"), GOOD)


@good
def test_a_field_set_in_the_constructor_has_its_key(name: str, arguments: Any, key: str, text: str) -> None:
    value = arguments[0] if len(arguments) == 1 else arguments

    assert fields_of(Subject(**{name: value})) == {key: text}


@good
def test_a_field_set_by_its_setter_has_its_key_and_can_be_read(
    name: str, arguments: Any, key: str, text: str
) -> None:
    subject = Subject()
    assert getattr(subject, name) is None

    assert getattr(subject, f"set_{name}")(*arguments) is subject
    assert fields_of(subject) == {key: text}
    assert getattr(subject, name) == (arguments[0] if len(arguments) == 1 else arguments)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("platform", "walrus", "must be one of"),
        ("platform", "MOB", "must be one of"),
        ("platform", "", "must be one of"),
        ("platform", 5, "must be one of"),
        ("user_id", 5, "must be a string"),
        ("user_id", b"u", "must be a string"),
        ("user_id", "u" * 256, "must have at most 255 characters"),
        ("user_id", "\ud800", "must not contain a lone surrogate"),
        ("screen_resolution", (0, 5), "must be width and height"),
        ("screen_resolution", (-1, 5), "must be width and height"),
        ("screen_resolution", (5,), "must be width and height"),
        ("screen_resolution", (1.5, 5), "must be width and height"),
        ("screen_resolution", (True, 5), "must be width and height"),
        ("screen_resolution", (5, 2**31), "must be width and height"),
        ("viewport", "300x200", "must be width and height"),
        ("color_depth", "walrus", "must be bits per pixel"),
        ("color_depth", 0, "must be bits per pixel"),
        ("color_depth", True, "must be bits per pixel"),
        ("timezone", 1, "must be a string"),
        ("lang", "l" * 256, "must have at most 255 characters"),
        ("ip_address", "10.0.0.1, 10.0.0.2", "must be one address, not a list of them"),
        ("ip_address", "10.0.0.1|x", "must be one address"),
        ("useragent", "u" * 1001, "must have at most 1000 characters"),
        ("domain_user_id", "d" * 129, "must have at most 128 characters"),
        ("network_user_id", "n" * 129, "must have at most 128 characters"),
        ("domain_session_id", "59ed13b1a5724dae", "must be a UUID in its canonical form"),
        ("domain_session_id", f"{{{SESSION}}}", "must be a UUID"),
        ("domain_session_id", SESSION + "\n", "must be a UUID"),
        ("domain_session_index", -1, "must be a whole number from 0"),
        ("domain_session_index", 2**31, "must be a whole number from 0"),
        ("domain_session_index", 1.0, "must be a whole number from 0"),
    ],
)
def test_a_wrong_value_is_refused_and_changes_nothing(name: str, value: Any, rule: str) -> None:
    with pytest.raises(InvalidEventError, match=rf"^{name}: {re.escape(rule)}.*, got "):
        Subject(**{name: value})

    subject = Subject(lang="en")
    arguments = value if name in ("screen_resolution", "viewport") and len(value) == 2 else (value,)
    if name not in ("screen_resolution", "viewport") or len(value) == 2:
        with pytest.raises(InvalidEventError, match=rf"^{name}: "):
            getattr(subject, f"set_{name}")(*arguments)
    assert fields_of(subject) == {"lang": "en"}


def test_setters_chain() -> None:
    subject = Subject().set_platform("mob").set_user_id("user-12345").set_lang("en")

    assert fields_of(subject) == {"p": "mob", "uid": "user-12345", "lang": "en"}


def test_a_new_subject_knows_nothing() -> None:
    assert Subject().platform is None
    assert fields_of(Subject()) == {}
    assert repr(Subject(user_id="u", color_depth=8)) == "Subject(user_id='u', color_depth=8)"


def test_an_unknown_name_is_an_error() -> None:
    subject: Any = Subject()

    with pytest.raises(AttributeError, match=r"'Subject' object has no attribute 'user'"):
        _ = subject.user
    with pytest.raises(AttributeError, match=r"user"):
        subject.user = "u"
    with pytest.raises(TypeError, match=r"user"):
        Subject(user="u")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def test_a_field_is_not_assigned_but_set() -> None:
    subject: Any = Subject()

    with pytest.raises(AttributeError, match=r"lang is read-only: use set_lang\(\)"):
        subject.lang = "en"


def test_none_means_not_set_and_takes_a_value_back() -> None:
    assert fields_of(Subject(user_id=None).set_lang("en").set_lang(None)) == {}


def test_an_empty_text_is_not_sent() -> None:
    assert fields_of(Subject(user_id="", lang="en")) == {"lang": "en"}


# --- layers


def layered(*layers: Subject, platform: str = "pc", last: Subject | None = None) -> dict[str, str]:
    """Return the fields of an event with *layers* as tracker's, bound and the call's subject."""
    own, bound = layers
    tracker, emitter = tracker_and_emitter(platform=platform, subject=own)
    with use_subject(bound):
        tracker.track_nowait(VIEW, subject=last)
    return dict(emitter.payloads[0])


def test_a_later_layer_wins_and_the_others_shine_through() -> None:
    fields = layered(
        Subject(platform="web", user_id="own", lang="own", timezone="own"),
        Subject(user_id="bound", lang="bound"),
        platform="tv",
        last=Subject(user_id="call"),
    )

    assert (fields["p"], fields["uid"], fields["lang"], fields["tz"]) == ("web", "call", "bound", "own")
    assert layered(Subject(), Subject(), platform="tv")["p"] == "tv"
    assert layered(Subject(), Subject(), platform="tv", last=Subject(platform="mob"))["p"] == "mob"


def test_none_lets_the_lower_layer_through_and_clear_removes_it() -> None:
    own = Subject(user_id="own", lang="own")

    assert layered(own, Subject(user_id=None))["uid"] == "own"
    assert "uid" not in layered(own, Subject(user_id=CLEAR))
    assert "uid" not in layered(own, Subject(), last=Subject(user_id=CLEAR))
    assert layered(own, Subject(user_id=CLEAR), last=Subject(user_id="call"))["uid"] == "call"
    assert "uid" not in sent(VIEW, tracker={"subject": Subject(user_id=CLEAR)})
    assert repr(CLEAR) == "CLEAR"


def test_no_event_is_without_a_platform() -> None:
    # One event without makes the pipeline refuse the whole request.
    assert layered(Subject(platform="web"), Subject(), last=Subject(platform=CLEAR))["p"] == "pc"
    assert sent(VIEW, tracker={"subject": Subject(platform=CLEAR)})["p"] == "pc"


def test_an_event_keeps_the_subject_it_was_tracked_with() -> None:
    tracker, emitter = tracker_and_emitter()
    subject = Subject(user_id="before")

    tracker.subject.set_lang("before")
    tracker.track_nowait(VIEW, subject=subject)
    tracker.subject.set_lang("after")
    subject.set_user_id("after")
    tracker.track_nowait(VIEW, subject=subject)

    assert [(event["uid"], event["lang"]) for event in emitter.payloads] == [
        ("before", "before"),
        ("after", "after"),
    ]


@pytest.mark.anyio
async def test_a_subject_is_captured_at_the_call_not_when_it_is_awaited() -> None:
    tracker, emitter = tracker_and_emitter(subject=Subject(user_id="before"))

    tracking = tracker.track(VIEW)
    tracker.subject.set_user_id("after")
    await tracking

    assert emitter.payloads[0]["uid"] == "before"


def test_every_change_of_the_trackers_subject_is_noticed() -> None:
    tracker, emitter = tracker_and_emitter()

    tracker.track_nowait(VIEW)
    tracker.subject.set_user_id("a")
    tracker.track_nowait(VIEW)
    tracker.set_subject(Subject(user_id="b")).track_nowait(VIEW)
    tracker.set_subject(None).track_nowait(VIEW)

    assert [event.get("uid") for event in emitter.payloads] == [None, "a", "b", None]


def test_two_trackers_without_a_subject_have_one_each() -> None:
    one, _ = tracker_and_emitter()
    other, emitter = tracker_and_emitter()

    one.subject.set_user_id("one")
    other.track_nowait(VIEW)

    assert "uid" not in emitter.payloads[0]


def test_what_was_read_of_a_subject_does_not_change() -> None:
    # Another thread may be in the middle of it.
    subject = Subject(user_id="u")
    fields = subject.protocol_fields()

    subject.set_lang("en").set_user_id(None)

    assert fields == {"uid": "u"}


# --- use_subject


def test_a_bound_subject_is_there_inside_and_nowhere_else() -> None:
    assert current_subject() is None
    with use_subject(user_id="u") as bound:
        assert current_subject() is bound
        assert sent(VIEW)["uid"] == "u"
    assert current_subject() is None
    assert "uid" not in sent(VIEW)


def test_binding_again_adds_and_leaving_takes_back() -> None:
    with use_subject(user_id="outer", lang="outer"):
        with use_subject(Subject(timezone="inner"), lang="inner"):
            fields = sent(VIEW)
            assert (fields["uid"], fields["lang"], fields["tz"]) == ("outer", "inner", "inner")
        with use_subject(user_id=CLEAR):
            assert "uid" not in sent(VIEW, tracker={"subject": Subject(user_id="own")})
        fields = sent(VIEW)
        assert (fields["uid"], fields["lang"], fields.get("tz")) == ("outer", "outer", None)


def test_a_bound_subject_is_a_copy() -> None:
    subject = Subject(user_id="before")
    with use_subject(subject):
        subject.set_user_id("after")
        assert sent(VIEW)["uid"] == "before"


def test_a_bound_subject_is_taken_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), use_subject(user_id="u"):
        raise ZeroDivisionError
    assert current_subject() is None


def test_a_wrong_field_binds_nothing() -> None:
    with pytest.raises(InvalidEventError, match=r"^user_id: must be a string"), use_subject(user_id=5):  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        pass
    with pytest.raises(TypeError, match=r"nope"), use_subject(nope=5):  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
        pass
    assert current_subject() is None


@pytest.mark.anyio
async def test_tasks_do_not_see_each_others_subject() -> None:
    met = asyncio.Barrier(2)

    async def request(user: str) -> str:
        with use_subject(user_id=user):
            await met.wait()
            return sent(VIEW)["uid"]

    async with asyncio.TaskGroup() as tasks:
        users = [tasks.create_task(request(user)) for user in ("a", "b")]

    assert [task.result() for task in users] == ["a", "b"]
    assert current_subject() is None


@pytest.mark.anyio
async def test_a_task_has_the_subject_of_where_it_was_started() -> None:
    async def child() -> str | None:
        with use_subject(lang="child"):
            return sent(VIEW).get("uid")

    with use_subject(user_id="parent"):
        started = asyncio.create_task(child())
        in_thread = asyncio.to_thread(lambda: sent(VIEW)["uid"])
        assert await started == "parent"
        assert await in_thread == "parent"
        assert "lang" not in sent(VIEW)


def test_a_thread_of_its_own_has_no_subject() -> None:
    seen: list[Subject | None] = []
    with use_subject(user_id="u"):
        thread = threading.Thread(target=lambda: seen.append(current_subject()))
        thread.start()
        thread.join()

    assert seen == [None]


# --- anonymous


def test_an_anonymous_event_leaves_out_who_it_was(oracle: Oracle) -> None:
    subject = Subject(
        user_id="u",
        domain_user_id="d",
        network_user_id="n",
        ip_address="10.0.0.1",
        domain_session_id=SESSION,
        domain_session_index=3,
        lang="en",
        useragent="Mozilla/5.0",
    )
    with use_subject(user_id="bound"):
        fields = sent(VIEW, tracker={"subject": subject, "app_id": "a"}, subject=subject, anonymous=True)

    assert fields.keys().isdisjoint({"uid", "duid", "tnuid", "nuid", "ip", "sid", "vid"})
    assert (fields["lang"], fields["ua"]) == ("en", "Mozilla/5.0")
    assert oracle.complaints(fields) == []


def test_an_event_is_anonymous_only_where_it_was_asked_for() -> None:
    tracker, emitter = tracker_and_emitter(subject=Subject(user_id="u"))

    tracker.track_nowait(VIEW, anonymous=True)
    tracker.track_nowait(VIEW)

    assert [(event.anonymous, event.get("uid")) for event in emitter.payloads] == [(True, None), (False, "u")]
