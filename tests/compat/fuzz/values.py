"""Values by chance: plausible ones, and those that break a rule of the pipeline, of JSON or of Python."""

from __future__ import annotations

import enum
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from snowplow_aio import SelfDescribingJson

_NAIVE = datetime(2024, 5, 6, 7, 8, 9)  # noqa: DTZ001 - it is refused

# Levels of nesting around the pipeline's limit of 40, and far beyond.
_DEPTHS = (1, 5, 30, 38, 39, 40, 41, 60, 300, 1_200, 100_000)

_LENGTHS = (
    0, 1, 3, 11, 12, 13, 35, 36, 37, 127, 128, 129, 254, 255, 256, 999, 1_000, 1_001, 2_000, 2_001,
    4_096, 4_097, 9_999, 10_001, 65_535, 65_536,
)  # fmt: skip
_LETTERS = (
    "a", "é", "\u20ac", "\U0001f600", "\t", "\0", "\n", '"', "\\", "\ud800", "%", "+", " ", "\u2028",
    "\x7f",
)  # fmt: skip

_WORDS = (
    "shop", "Grün", "a b", " ", "", "null", "None", "true", "0", "-1", "1e5", "iglu:", "../..", "a\tb",
    "a\0b", "a\r\nb", "<script>", "\udcff", "日本語", "\U0001f600", "{a}", "${x}", "a|b", "1,2", "=1+1",
)  # fmt: skip

_SCHEMES = ("http", "https", "HTTPS", "mailto", "ftp", "", "1x", "urn", "file", "javascript", "a+b", "x" * 17)
_HOSTS = (
    "shop.example", "bücher.example", "user:pw@h.example", "h:8080", "[::1]", "[::1", "a_b.example", "",
    "127.0.0.1", "h:99999", "xn--bcher-kva.example", "a..b", "x" * 254, "%41.example",
)  # fmt: skip
_PIECES = (
    "a", "ä", " ", "\t", "|", "{a}", "${x}", "%", "%2", "%41", "%zz", "\\", "^", "`", "<", '"', "[",
    "]", "#", "?", "&", ";", "=", "+", "/", "//", "..", "\n", "\0", "\x80", "\u2028", "\U0001f600",
    "\ud800", ":", "@",
)  # fmt: skip
_QUERIES = (
    "", "q=1", "_sp=a.b", "_sp=a.1368725287000", "_sp=a.99999999999999999999", "_sp=a.", "a=1&_sp=b.c",
    "utm_source=" + "x" * 256, "q=%", "q={a}", "_sp=a.b.c.d.e.f.g.h", "_sp=%61.b", "a;_sp=d.e",
)  # fmt: skip

_WRONG: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, "", "text", b"bytes", [], {}, (), set(), object(), math.nan,
    math.inf, Decimal("NaN"), _NAIVE, date(2024, 5, 6), int, 10**400, [None], {"a": None}, {1: 2}, 1j,
    ...,
)  # fmt: skip

_NUMBERS: tuple[Any, ...] = (
    0, 0.0, -0.0, 1, -1, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**53 + 1, 2**64, 10**25, 10**400,
    0.1 + 0.2, 1e-7, 1e16, 1e22, 1e308, 5e-324, 19.99, 19.999, Decimal("19.99"), Decimal("1e5000"),
    Decimal("1e-5001"), Decimal("1e6000"), Decimal("0.10"), Decimal("-0"), "13.99", "1e5", "0x10", " 1",
    "1_000", "٣", "NaN", "-", "1" * 400, "1" * 5000,
)  # fmt: skip

_STAMPS: tuple[Any, ...] = (
    0, -1, 1, 1368725287, 1368725287.5, 10**11 - 1, 10**11, 1368725287000, 1368725287000.9,
    253_402_300_799_999, 253_402_300_800_000, 2**63, 10**30, math.nan, math.inf, -math.inf,
    datetime(2024, 5, 6, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2024, 5, 6, tzinfo=timezone(timedelta(hours=-23, minutes=-59))), _NAIVE,
)  # fmt: skip


class Values:
    """
    Makes values.

    Args:
        chance: Where all chance comes from: the same seed makes the same values.
    """

    def __init__(self, chance: Random) -> None:
        self.chance = chance

    def one_of(self, *makers: Callable[[], Any]) -> Any:
        return self.chance.choice(makers)()

    def happens(self, odds: float) -> bool:
        return self.chance.random() < odds

    # --- texts

    def text(self) -> str:
        chance = self.chance.random()
        if chance < 0.5:
            return self.chance.choice(_WORDS)
        if chance < 0.8:
            return "".join(self.chance.choices(_PIECES, k=self.chance.randrange(12)))
        if chance < 0.95:
            top = self.chance.choice((0x7F, 0x24F, 0xFFFF, 0x10FFFF))
            return "".join(chr(self.chance.randrange(top)) for _ in range(self.chance.randrange(9)))
        return self.chance.choice(_LETTERS) * self.chance.choice(_LENGTHS)

    def word(self) -> str:
        """Return a text that hardly any rule forbids."""
        return self.chance.choice(
            ("shop", "cart", "Grün", "a b", "日本語", "x" * self.chance.randrange(1, 40))
        )

    def url(self) -> str:
        """Return an address, of a browser or worse."""
        if self.happens(0.4):
            return f"https://shop.example/{self.word().replace(' ', '+')}"
        many = self.happens(0.1)
        tail = self.run_of_pieces(many=many)
        query = self.chance.choice(_QUERIES) if self.happens(0.5) else self.run_of_pieces(many=many)
        fragment = f"#{self.run_of_pieces(many=many)}" if self.happens(0.3) else ""
        colon = self.chance.choice(("://", ":", "//", ":/", ""))
        start = f"{self.chance.choice(_SCHEMES)}{colon}{self.chance.choice(_HOSTS)}"
        question = "?" if self.happens(0.6) else ""
        slash = "/" if self.happens(0.8) else ""
        return f"{start}{slash}{tail}{question}{query if question else ''}{fragment}"

    def run_of_pieces(self, *, many: bool) -> str:
        if not many:
            return "".join(self.chance.choices(_PIECES, k=self.chance.randrange(4)))
        limit = self.chance.choice((250, 1_000, 3_000, 6_000, 10_000))
        piece = self.chance.choice(_PIECES)
        return piece * (
            limit // len(piece) // self.chance.choice((1, 1, 2, 3, 4, 9)) + self.chance.randrange(-3, 4)
        )

    def uuid(self) -> Any:
        made = UUID(int=self.chance.getrandbits(128))
        return self.chance.choice(
            (made, str(made), str(made).upper(), made.hex, f"{{{made}}}", f"{made}\n", "no")
        )

    # --- numbers and times

    def number(self) -> Any:
        return self.one_of(
            lambda: self.chance.choice(_NUMBERS),
            lambda: self.chance.randrange(-(2**33), 2**33),
            lambda: self.chance.uniform(-1e6, 1e6),
            lambda: self.chance.randrange(0, 200),
        )

    def stamp(self) -> Any:
        return self.one_of(
            lambda: self.chance.choice(_STAMPS),
            lambda: 1_700_000_000_000 + self.chance.randrange(10**11),
            lambda: self.chance.randrange(-(10**14), 10**16),
        )

    # --- JSON, and what is none

    def json(self, depth: int = 3) -> Any:
        """Return data that is JSON but for some of its values."""
        chance = self.chance.random()
        if depth == 0 or chance < 0.5:
            return self.one_of(self.text, self.number, lambda: self.chance.choice((None, True, False)))
        if chance < 0.75:
            return {self.text(): self.json(depth - 1) for _ in range(self.chance.randrange(4))}
        if chance < 0.95:
            return [self.json(depth - 1) for _ in range(self.chance.randrange(4))]
        return self.wrong()

    def nested(self) -> Any:
        """Return JSON that is deep."""
        data: Any = self.word()
        is_list = self.happens(0.5)
        for _ in range(self.chance.choice(_DEPTHS)):
            data = [data] if is_list else {"a": data}
        return data

    def wrong(self) -> Any:
        """Return a value of any type."""
        return self.one_of(
            lambda: self.chance.choice(_WRONG),
            self.nested,
            self.number,
            self.text,
            self.circle,
            Mean,
        )

    def circle(self) -> Any:
        data: dict[str, Any] = {}
        data["a"] = [data]
        return data

    def uri(self) -> Any:
        part = self.chance.choice(("com.acme", "org.w3", "A-9._x", "com/acme", "", "ä"))
        name = self.chance.choice(("save_game", "x", "a b", "", "GeoLocation"))
        version = self.chance.choice(("1-0-0", "1-0-2", "0-0-0", "1-0", "1-0-*", "01-0-0", "99999999999-0-0"))
        scheme = self.chance.choice(("iglu:", "iglu:", "iglu:", "iglu", "", "IGLU:"))
        form = self.chance.choice(("jsonschema", "jsonschema", "jsonschema", "avro", ""))
        return f"{scheme}{part}/{name}/{form}/{version}"

    def entity(self) -> Any:
        """Return a self-describing JSON, or a function's argument that should be one."""
        if self.happens(0.05):
            return self.wrong()
        schema = "iglu:com.acme/save_game/jsonschema/1-0-2" if self.happens(0.7) else self.uri()
        data = self.nested() if self.happens(0.05) else {self.word(): self.json(2) for _ in range(3)}
        return SelfDescribingJson(schema, data)

    def context(self) -> Any:
        if self.happens(0.05):
            return self.wrong()
        return [self.entity() for _ in range(self.chance.randrange(3))] or None

    # --- by type

    def of(self, annotation: Any) -> Any:
        """Return a value for a field that is annotated so; now and then of another type."""
        return self.wrong() if self.happens(0.03) else self._fitting(annotation)

    def _fitting(self, annotation: Any) -> Any:
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is typing.Annotated:
            return self._fitting(arguments[0])
        if origin in (typing.Union, types.UnionType):
            return self._fitting(self.chance.choice(arguments))
        if origin is typing.Literal:
            value = self.chance.choice(arguments)
            return self.chance.choice((value, value, value, str(value).swapcase(), f"{value} "))
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {self._fitting(arguments[0]): self._fitting(arguments[1]) for _ in range(2)}
        if isinstance(origin, type) and issubclass(origin, Sequence):
            items = [self.of(arguments[0]) for _ in range(self.chance.randrange(4))]
            return items if self.happens(0.8) else tuple(items)
        return self._plain(annotation)

    def _plain(self, kind: Any) -> Any:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return self.fields_of(kind)
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return self.chance.choice(list(kind))
        makers: Mapping[Any, Callable[[], Any]] = {
            str: lambda: self.one_of(self.text, self.word, self.word),
            int: lambda: self.one_of(self.number, lambda: self.chance.randrange(100)),
            float: self.number,
            Decimal: self.number,
            bool: lambda: self.chance.choice((True, False, True, False, 0, "yes")),
            UUID: self.uuid,
            datetime: self.stamp,
            type(None): lambda: None,
        }
        return makers.get(kind, lambda: self.json(2))()

    def fields_of(self, model: type[BaseModel]) -> dict[str, Any]:
        """Return fields to build *model* of: those that it requires, and some of the others."""
        return {
            name: self.url() if "url" in name or name == "referrer" else self.of(field.annotation)
            for name, field in model.model_fields.items()
            if field.is_required() or self.happens(0.5)
        }


class Mean:
    """An object whose every method fails."""

    def __repr__(self) -> str:
        raise RuntimeError("mean")

    def __str__(self) -> str:
        raise RuntimeError("mean")

    def __bool__(self) -> bool:
        raise RuntimeError("mean")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("mean")

    def __hash__(self) -> int:
        raise RuntimeError("mean")
