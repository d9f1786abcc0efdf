"""Events of forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import BeforeValidator, ConfigDict, Field

from snowplow_aio.model.fields import ABSENT, CAMEL_CASE, NOT_BLANK, ListOf, OrAbsent
from snowplow_aio.model.frozen_model import FrozenModel
from snowplow_aio.model.self_describing import SelfDescribing

NodeName = Literal["INPUT", "TEXTAREA", "SELECT"]

InputType = Literal[
    "button", "checkbox", "color", "date", "datetime", "datetime-local", "email", "file", "hidden", "image",
    "month", "number", "password", "radio", "range", "reset", "search", "submit", "tel", "text", "time",
    "url", "week",
]  # fmt: skip

_Id = Annotated[str, Field(max_length=4096)]
_Ids = Annotated[Sequence[_Id], ListOf("strings")]
_Value = Annotated[str, Field(max_length=65535)]


def _upper(name: object) -> object:
    # A name that is not known is shown as the caller wrote it.
    return name.upper() if isinstance(name, str) and name.upper() in get_args(NodeName) else name


def _lower(name: object) -> object:
    return name.lower() if isinstance(name, str) and name.lower() in get_args(InputType) else name


class FormElement(FrozenModel):
    """
    One element of a form that was submitted.

    Args:
        name: The name of the element; at most 65,535 characters.

        value: The value of the element, or None; at most 65,535 characters.

        node_name: ``INPUT``, ``TEXTAREA`` or ``SELECT``, in any case.

        type_: The type of an input, in any case; None if it has none.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        An element for `FormSubmit`::

            FormElement(name="email", value="ada@example.com", node_name="INPUT", type_="email")
    """

    model_config: ClassVar[ConfigDict] = CAMEL_CASE

    name: _Value
    value: _Value | None
    node_name: Annotated[NodeName, BeforeValidator(_upper)]
    type_: OrAbsent[Annotated[InputType, BeforeValidator(_lower)]] = ABSENT


class FormChange(SelfDescribing, schema="iglu:com.snowplowanalytics.snowplow/change_form/jsonschema/1-0-0"):
    """
    The value of an element of a form was changed.

    Args:
        form_id: The id of the form; not empty, at most 4,096 characters.

        element_id: The id of the element; at most 4,096 characters.

        node_name: ``INPUT``, ``TEXTAREA`` or ``SELECT``, in any case.

        value: The new value, or None; at most 65,535 characters.

        type_: The type of an input, in any case; None if it has none.

        element_classes: The classes of the element; at most 4,096 characters each.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Track a new value::

            change = FormChange(form_id="login", element_id="name", node_name="INPUT", value="Ada")
            await tracker.track(change)
    """

    model_config: ClassVar[ConfigDict] = CAMEL_CASE

    form_id: Annotated[_Id, NOT_BLANK]
    element_id: _Id
    node_name: Annotated[NodeName, BeforeValidator(_upper)]
    value: _Value | None
    type_: OrAbsent[Annotated[InputType, BeforeValidator(_lower)]] = ABSENT
    element_classes: OrAbsent[_Ids] = ABSENT


class FormSubmit(SelfDescribing, schema="iglu:com.snowplowanalytics.snowplow/submit_form/jsonschema/1-0-0"):
    """
    A form was submitted.

    Args:
        form_id: The id of the form; not empty, at most 4,096 characters.

        form_classes: The classes of the form; at most 4,096 characters each.

        elements: The elements of the form: `FormElement` objects, or dicts with the same fields.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Track a form with one element::

            elements = [FormElement(name="name", value="Ada", node_name="INPUT")]
            await tracker.track(FormSubmit(form_id="login", elements=elements))
    """

    model_config: ClassVar[ConfigDict] = CAMEL_CASE

    form_id: Annotated[_Id, NOT_BLANK]
    form_classes: OrAbsent[_Ids] = ABSENT
    elements: OrAbsent[Annotated[Sequence[FormElement], ListOf("dicts, or of FormElement objects")]] = ABSENT
