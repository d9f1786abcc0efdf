"""What happens in forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from snowplow_aio.model.fields import ABSENT, CAMEL_CASE, NOT_BLANK
from snowplow_aio.model.self_describing import SelfDescribing

NodeName = Literal["INPUT", "TEXTAREA", "SELECT"]

InputType = Literal[
    "button", "checkbox", "color", "date", "datetime", "datetime-local", "email", "file", "hidden", "image",
    "month", "number", "password", "radio", "range", "reset", "search", "submit", "tel", "text", "time",
    "url", "week",
]  # fmt: skip

_Id = Annotated[str, Field(max_length=4096)]
_Value = Annotated[str, Field(max_length=65535)]


class FormElement(BaseModel):
    """
    One element of a form that was submitted.

    Args:
        name: The element's name; at most 65,535 characters.

        value: Its value, or None; at most 65,535 characters.

        node_name: ``INPUT``, ``TEXTAREA`` or ``SELECT``.

        type_: The type of an input, in lower case.

    Raises pydantic.ValidationError when a value breaks one of these rules.
    """

    model_config: ClassVar[ConfigDict] = SelfDescribing.model_config | CAMEL_CASE

    name: _Value
    value: _Value | None
    node_name: NodeName
    type_: InputType = ABSENT


class FormChange(SelfDescribing, schema="iglu:com.snowplowanalytics.snowplow/change_form/jsonschema/1-0-0"):
    """
    Somebody changed an element of a form.

    Args:
        form_id: The id of the form; not empty, at most 4,096 characters.

        element_id: The id of the element; at most 4,096 characters.

        node_name: ``INPUT``, ``TEXTAREA`` or ``SELECT``.

        value: The new value, or None; at most 65,535 characters.

        type_: The type of an input, in lower case.

        element_classes: The classes of the element; at most 4,096 characters each.

    Raises pydantic.ValidationError when a value breaks one of these rules.
    """

    model_config: ClassVar[ConfigDict] = CAMEL_CASE

    form_id: Annotated[_Id, NOT_BLANK]
    element_id: _Id
    node_name: NodeName
    value: _Value | None
    type_: InputType = ABSENT
    element_classes: Sequence[_Id] = ABSENT


class FormSubmit(SelfDescribing, schema="iglu:com.snowplowanalytics.snowplow/submit_form/jsonschema/1-0-0"):
    """
    Somebody submitted a form.

    Args:
        form_id: The id of the form; not empty, at most 4,096 characters.

        form_classes: Its classes; at most 4,096 characters each.

        elements: Its elements, `FormElement` or a dict with the same fields.

    Raises pydantic.ValidationError when a value breaks one of these rules.
    """

    model_config: ClassVar[ConfigDict] = CAMEL_CASE

    form_id: Annotated[_Id, NOT_BLANK]
    form_classes: Sequence[_Id] = ABSENT
    elements: Sequence[FormElement] = ABSENT
