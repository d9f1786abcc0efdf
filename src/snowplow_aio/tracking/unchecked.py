"""
What is wrong with a model that nobody has checked.

pydantic's `model_construct` and `model_copy(update=...)` make models without
looking at their values. Such an event is tracked like any other. Only where
that fails is it looked at again, so that the usual event pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from snowplow_aio.exceptions import InvalidEventError

# More levels than any JSON has that can be sent.
_MAX_LEVELS = 1000


def fault_of_call(event: Any, context: Any) -> InvalidEventError | None:
    """Return the error about the first field of *event* or its *context* that breaks a rule, or None."""
    return fault_in(event, "event") or fault_in(context, "context")


def fault_in(value: Any, place: str, levels: int = _MAX_LEVELS) -> InvalidEventError | None:
    """
    Return the error about the first field that breaks a rule of its model, or None.

    Args:
        value: A model, or a mapping or a list that models may stand in.

        place: The name of *value* in the error.

        levels: How deep it is searched.
    """
    fault = _own_fault(value, place) if isinstance(value, BaseModel) else None
    if fault is None and levels > 0:
        found = (fault_in(part, name, levels - 1) for name, part in _parts(value, place))
        fault = next((one for one in found if one is not None), None)
    return fault


def _own_fault(model: BaseModel, place: str) -> InvalidEventError | None:
    kind, values = type(model), model.__dict__
    for name in kind.model_fields:
        if name not in values:
            return InvalidEventError.about(f"{place}.{name}", model, "must be given")
    fields = {name: values[name] for name in kind.model_fields}
    try:
        kind.model_validate(fields, by_alias=False, by_name=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "items":
            # The whole complaint about an item of a transaction.
            return InvalidEventError(f"{place}.{first['msg']}")
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        return InvalidEventError.about(f"{place}{where}", first["input"], first["msg"])
    except RecursionError:
        return InvalidEventError.about(place, kind.__name__, "must not be nested so deeply")
    except Exception:  # noqa: BLE001 - a validator of the application failed, which says nothing of the values
        return None
    return None


def _parts(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, BaseModel):
        value = value.__dict__
    if isinstance(value, Mapping):
        yield from ((f"{place}.{name}", part) for name, part in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"{place}[{i}]", part) for i, part in enumerate(value))
