"""The base of all models: frozen values that are made with keywords."""

from __future__ import annotations

import inspect
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, ClassVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import InitErrorDetails

from snowplow_aio.exceptions import complaint
from snowplow_aio.model.atomic import refusal
from snowplow_aio.model.old_names import ARGUMENTS, FIELDS, new_name

# Arguments of the call, which other trackers take where an event is made.
_OF_THE_CALL = frozenset(
    {"context", "contexts", "tstamp", "true_timestamp", "subject", "event_subject", "event_id"}
)


class _PlainSignature:
    """The signature of a model: its fields by name, with their types and without their rules."""

    def __init__(self, pydantics: Any) -> None:
        self._pydantics = pydantics

    def __get__(self, model: object, kind: type[BaseModel]) -> inspect.Signature:
        if model is not None:
            raise AttributeError("__signature__")
        signature: inspect.Signature = self._pydantics.__get__(None, kind)
        try:
            types = get_type_hints(kind)
        except NameError:
            # A type of the place where the class was declared.
            types = {}
        names = {
            alias: name
            for name, field in kind.__pydantic_fields__.items()
            for alias in (field.alias, field.validation_alias)
            if isinstance(alias, str)
        }
        parameters: list[inspect.Parameter] = []
        for parameter in signature.parameters.values():
            if parameter.kind is not parameter.VAR_POSITIONAL:
                name = names.get(parameter.name, parameter.name)
                annotation = _plain(types.get(name, parameter.annotation))
                parameters.append(parameter.replace(name=name, annotation=annotation))
        return signature.replace(parameters=parameters)


def _plain(annotation: Any) -> Any:
    # Written like `str | None`, whichever way it was made.
    return reduce(or_, get_args(annotation)) if get_origin(annotation) is Union else annotation


class FrozenModel(BaseModel):
    """
    The base of events, entities and their parts.

    Instances are frozen, unknown fields are refused, and kinds are not mixed (``"23"`` is no int).
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        populate_by_name=True,
        loc_by_alias=False,
        allow_inf_nan=False,
    )

    if not TYPE_CHECKING:
        # Type checkers make the signature of each model of its fields.

        def __init__(self, /, *positional: Any, **fields: Any) -> None:
            __tracebackhide__ = True
            if positional:
                raise _keywords_only(type(self), positional[0])
            try:
                self.__pydantic_validator__.validate_python(fields, self_instance=self)
            except ValidationError as error:
                raise _explained(error) from None
            except RecursionError:
                raise _too_deep(type(self)) from None

        # pydantic need not call it for a model within another one.
        __init__.__pydantic_base_init__ = True

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        own = cls.__dict__.get("__signature__")
        if own is not None:
            # An assignment would be a declaration for type checkers.
            setattr(cls, "__signature__", _PlainSignature(own))  # noqa: B010


def _keywords_only(kind: type[BaseModel], value: object) -> TypeError:
    first = next(iter(kind.__pydantic_fields__), "field")
    rule = f"takes its fields by name: {kind.__name__}({first}=...)"
    return TypeError(complaint(f"{kind.__name__}()", value, rule))


def _explained(error: ValidationError) -> ValidationError:
    """Return *error*, or the one about fields that have another name here."""
    faults: list[InitErrorDetails] = []
    for fault in error.errors(include_url=False):
        name = str(fault["loc"][-1]) if fault["loc"] else ""
        if fault["type"] != "extra_forbidden":
            continue
        if name in _OF_THE_CALL:
            advice: str | None = f"the argument {ARGUMENTS.get(name, name)} of tracker.track(event, ...)"
        else:
            advice = FIELDS.get((error.title, name)) or new_name(name, ARGUMENTS)
        if advice is not None:
            rule = refusal(f"Extra inputs are not permitted: use {advice}")
            faults.append({"type": rule, "loc": fault["loc"], "input": fault["input"]})
    return ValidationError.from_exception_data(error.title, faults) if faults else error


def _too_deep(kind: type[BaseModel]) -> ValidationError:
    rule = refusal("must not be nested so deeply")
    return ValidationError.from_exception_data(kind.__name__, [{"type": rule, "loc": (), "input": ...}])
