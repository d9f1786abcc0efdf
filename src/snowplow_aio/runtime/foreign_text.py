"""
Texts from outside, made fit for a log line, an error or a page.

An address, an answer or an error of another library may be of any length, have
line breaks and control characters in it, and carry a password. Every such text
goes through `shown`. The `repr` of a foreign object never reaches a log: it may
hold the headers of a whole request.
"""

from __future__ import annotations

import re

MAX_SHOWN_CHARACTERS = 200

# More of a text is not even searched for secrets.
_MAX_SEARCHED_CHARACTERS = 100_000

_HIDDEN = "***"
_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    # Before the host of a URL; a password may have an `@` in it.
    (re.compile(r"//[^/\s]*@"), f"//{_HIDDEN}@"),
    # The query of a URL: access keys stand there.
    (re.compile(r"(://[^\s?#'\"]*)\?[^\s'\"]+"), rf"\1?{_HIDDEN}"),
    # Headers, as logs, dictionaries and pairs show them.
    (
        re.compile(r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-api-key)(\W{1,6})[^\r\n]*"),
        rf"\1\2{_HIDDEN}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[^\s'\",]+"), rf"\1 {_HIDDEN}"),
)


def masked(text: str) -> str:
    """
    Return *text* with the secrets in it replaced by ``***``.

    Secrets are what stands before the ``@`` of a URL or after its ``?``, the
    values of headers that authorise, and tokens after ``Bearer`` and ``Basic``.

    Example:
        >>> masked("redis://:hunter2@cache:6379/0 refused")
        'redis://***@cache:6379/0 refused'
    """
    for secret, replacement in _SECRETS:
        text = secret.sub(replacement, text)
    return text


def shown(text: object, limit: int = MAX_SHOWN_CHARACTERS) -> str:
    r"""
    Return *text*, which comes from outside, as a log line may show it.

    Secrets are masked, what cannot be printed is escaped, and more than *limit*
    characters are cut, with the length added.

    Args:
        text: A text, or an object whose `str` is one, such as an error.

        limit: The most characters of the text that are shown, at least 1.

    Example:
        >>> shown("two\nlines")
        'two\\nlines'
    """
    try:
        whole = str(text)
    except Exception:  # noqa: BLE001 - the object's own method may do anything
        return f"a value of type {type(text).__name__}"
    said = masked(whole[:_MAX_SEARCHED_CHARACTERS])
    if not said.isprintable():
        said = "".join([one if one.isprintable() else _escaped(one) for one in said[: limit + 1]])
    return cut(said, limit, length=len(whole))


def events_text(count: int) -> str:
    """Return how many events there are, as a person says it: ``1 event``, ``2 events``."""
    return f"{count} event{'' if count == 1 else 's'}"


def cut(text: str, limit: int = MAX_SHOWN_CHARACTERS, *, length: int | None = None) -> str:
    """Return *text*; what is longer than *limit* is cut, and its *length* is said."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}... ({length or len(text)} characters)"


def _escaped(character: str) -> str:
    # Also for lone surrogates, which no stream can write.
    return character.encode("unicode_escape").decode("ascii")
