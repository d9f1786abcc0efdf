"""Errors of applications."""

from __future__ import annotations

import threading
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field

from snowplow_aio.events.stack_trace import cause_text, error_message, error_name, place_of, stack_text
from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.model.atomic import INT32_MAX
from snowplow_aio.model.fields import CAMEL_CASE, Count
from snowplow_aio.model.self_describing import SelfDescribing

ProgrammingLanguage = Literal[
    "JAVA", "SCALA", "KOTLIN", "GROOVY", "RUBY", "GOLANG", "JAVASCRIPT", "PHP", "PYTHON", "OBJECTIVEC",
    "SWIFT", "C", "CPLUSPLUS", "CSHARP", "ACTIONSCRIPT", "LUA", "RUST", "HASKELL", "CLOJURE", "ERLANG",
    "ELIXIR", "CRYSTAL", "PONY", "NIM",
]  # fmt: skip

_LONGEST_MESSAGE = 2048
_LONGEST_NAME = 1024
_LONGEST_TRACE = 8192

_Name = Annotated[str, Field(max_length=_LONGEST_NAME)]
_Trace = Annotated[str, Field(max_length=_LONGEST_TRACE)]


class ApplicationError(
    SelfDescribing, schema="iglu:com.snowplowanalytics.snowplow/application_error/jsonschema/1-0-2"
):
    """
    An error of an application.

    Args:
        message: The message of the error; at most 2,048 characters.

        programming_language: The language of the code; PYTHON if it is not given.

        thread_name: The name of the thread; at most 1,024 characters.

        thread_id: The number of the thread, 0 to 2147483647.

        stack_trace: The stack trace; at most 8,192 characters.

        cause_stack_trace: The stack trace of its cause; at most 8,192 characters.

        line_number: The line where it happened, 0 to 2147483647.

        class_name: The class whose code failed; at most 1,024 characters.

        exception_name: The kind of error; at most 1,024 characters.

        is_fatal: Whether the error ended the application.

        line_column: The column in the line, 0 to 2147483647.

        file_name: The file where it happened; at most 1,024 characters.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Track an exception that was caught::

            await tracker.track(ApplicationError.from_exception(error))
    """

    model_config: ClassVar[ConfigDict] = CAMEL_CASE | ConfigDict(
        json_schema_extra={"required": ["programmingLanguage", "message"]}
    )

    message: Annotated[str, Field(max_length=_LONGEST_MESSAGE)]
    programming_language: ProgrammingLanguage = "PYTHON"
    thread_name: _Name | None = None
    thread_id: Count | None = None
    stack_trace: _Trace | None = None
    cause_stack_trace: _Trace | None = None
    line_number: Count | None = None
    class_name: _Name | None = None
    exception_name: _Name | None = None
    is_fatal: bool | None = None
    line_column: Count | None = None
    file_name: _Name | None = None

    @classmethod
    def from_exception(cls, error: BaseException, *, is_fatal: bool | None = None) -> Self:
        """
        Return the event of an exception. The event keeps neither the exception nor its frames.

        Texts that are too long for the schema are shortened. Of a trace the
        innermost frames are kept, and of a chain of causes the nearest and the first
        ones. The traces of the members of an exception group follow its own trace.

        Args:
            error: The exception. One that was not raised has no trace.

            is_fatal: Whether it ends the application.

        Raises:
            InvalidEventError: If *error* is no exception.
        """
        if not isinstance(error, BaseException):
            raise InvalidEventError.about("error", error, "must be an exception")
        thread_id = threading.get_native_id()
        fields: dict[str, Any] = {
            "message": error_message(error, _LONGEST_MESSAGE),
            "exception_name": error_name(error, _LONGEST_NAME),
            "stack_trace": stack_text(error, _LONGEST_TRACE),
            "cause_stack_trace": cause_text(error, _LONGEST_TRACE),
            "thread_name": threading.current_thread().name[:_LONGEST_NAME],
            "thread_id": thread_id if thread_id <= INT32_MAX else None,
            "is_fatal": is_fatal,
            **place_of(error, _LONGEST_NAME),
        }
        return cls(**{name: value for name, value in fields.items() if value is not None})
