"""
The errors of redis-py, translated into ours.

They are translated here and nowhere else, so nothing above this room names redis-py's exceptions.
"""

from __future__ import annotations

import re
import ssl

from redis import exceptions as errors

from snowplow_aio.abc import Response
from snowplow_aio.exceptions import TransportError
from snowplow_aio.runtime.foreign_text import shown

# States of a server that end by themselves, or that an operator is repairing.
_PASSING = frozenset(
    [
        "ASK", "BUSY", "CLUSTERDOWN", "INPROG", "LOADING", "MASTERDOWN", "MAXCLIENTS", "MISCONF", "MOVED",
        "NOREPLICAS", "OOM", "READONLY", "TRYAGAIN", "UNKILLABLE",
    ]
)  # fmt: skip

# Servers before version 7 wrap the code of a script's error in a sentence.
_CODE = re.compile(rf"\b(?:{'|'.join(sorted(_PASSING))}|WRONGTYPE|NOPERM|NOAUTH|NOGROUP|BUSYGROUP)\b")

# redis-py makes exceptions of these codes and removes them from the message.
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (errors.BusyLoadingError, "LOADING"),
    (errors.OutOfMemoryError, "OOM"),
    (errors.ReadOnlyError, "READONLY"),
    (errors.NoPermissionError, "NOPERM"),
    (errors.NoScriptError, "NOSCRIPT"),
    (errors.MasterDownError, "MASTERDOWN"),
    (errors.ClusterDownError, "CLUSTERDOWN"),
    (errors.TryAgainError, "TRYAGAIN"),
    (errors.ClusterCrossSlotError, "CROSSSLOT"),
    (errors.MovedError, "MOVED"),
    (errors.AskError, "ASK"),
    (errors.AuthenticationError, "NOAUTH"),
)

# So the command and the key are not cut off by those who show less.
_MAX_SUBJECT = 120

# redis-py says which command of a pipeline failed, with all its words: an event is one of them.
_IN_PIPELINE = " of pipeline caused error: "

# With which our scripts add the command and the key to an error.
_SUBJECT = " @ "

# What servers say before the message about a right that a script lacks.
_OF_SCRIPTS = re.compile("^(ERR )?ACL failure in script: ")


class Refusal(TransportError):  # noqa: N818 - an answer of the server, not a fault of ours
    """
    The server refused a command and executed nothing of it.

    Attributes:
        response: The refusal as an answer that the delivery loop can judge.
    """

    def __init__(self, response: Response) -> None:
        super().__init__(f"{response.reason}: {response.detail}")
        self.response = response


def translate(error: Exception, subject: str) -> TransportError:
    """
    Return *error*, raised by redis-py, as a `Refusal`, or as a plain TransportError if nobody answered.

    Args:
        error: The error.

        subject: The command and its keys, for the message of a refusal. A script's own error is more exact.
    """
    response = _refusal(error, subject)
    if response is not None:
        return Refusal(response)
    return TransportError(shown(error) or "no answer from Redis")


def _refusal(error: Exception, subject: str) -> Response | None:
    """Return the server's refusal *error* as a response, or None if there was no answer."""
    certificate = _certificate_error(error)
    if certificate is not None:
        detail = f"the certificate is not trusted: {shown(certificate.verify_message)}"
        return Response(status=0, reason=type(certificate).__name__, detail=detail, is_misconfigured=True)
    code = _code(error)
    if code is None:
        return None
    detail = _detail(error, subject)
    if code in _PASSING:
        return Response(status=503, reason=code, detail=detail)
    return Response(status=0, reason=code, detail=detail, is_misconfigured=True)


def _certificate_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """Return the verification error of a certificate that caused *error*, or None."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def _code(error: Exception) -> str | None:
    """Return the code with which the server refused, like ``OOM``, or None if it did not refuse."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    text = _message(error)
    if "max number of clients" in text:
        return "MAXCLIENTS"
    if "unauthenticated" in text:
        # The answer to a command with many arguments that is sent before AUTH.
        return "NOAUTH"
    if "ACL failure in script" in text or "user executing the script" in text:
        # The answer of servers up to version 7 to a forbidden command inside a script.
        return "NOPERM"
    if "luster mode is not enabled" in text:
        return "CLUSTERDISABLED"
    if not isinstance(error, errors.ResponseError):
        return None
    found = _CODE.search(text)
    return found[0] if found else "ERR"


def _message(error: Exception) -> str:
    """Return the server's message without the words of the command, which are events."""
    return str(error).rpartition(_IN_PIPELINE)[2].partition(", with args")[0]


def _detail(error: Exception, subject: str) -> str:
    """Return the command and the key that were refused, and why."""
    message, separator, of_script = _message(error).rpartition(_SUBJECT)
    if not separator:
        message, of_script = of_script, subject
    return f"{shown(of_script, _MAX_SUBJECT)}: {shown(_OF_SCRIPTS.sub('', message))}"
