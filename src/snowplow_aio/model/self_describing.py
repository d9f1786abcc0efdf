"""Self-describing data: an Iglu URI and the data it describes, as a model or as plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from snowplow_aio.exceptions import ConfigurationError, InvalidEventError
from snowplow_aio.model.schema_key import SchemaKey, schema_key, schema_uri

JSONValue = Any


class SelfDescribing(BaseModel):
    """
    The base of an event or a context entity with a schema of its own.

    ``class SaveGame(SelfDescribing, schema="iglu:com.acme/save_game/jsonschema/1-0-2")``
    declares one; the same class serves as event and as entity. Instances are
    frozen, unknown fields are refused, and kinds are not mixed (``"23"`` is no
    int). A field that was not set is left out of the data; one that was set to
    None is sent as null. A field whose name pydantic needs for itself
    (``schema``, ``json``, ``copy`` ...) takes another name and an alias:
    ``json_: str = Field(alias="json")``.

    Args:
        schema: The Iglu URI, or a SchemaKey; a class parameter. A subclass
            without one has its parent's.

    Raises ConfigurationError when the class is made with something else.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        populate_by_name=True,
        loc_by_alias=False,
        allow_inf_nan=False,
    )

    schema_key: ClassVar[SchemaKey]
    schema_uri: ClassVar[str]

    def __init_subclass__(cls, *, schema: str | SchemaKey | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if schema is not None:
            try:
                cls.schema_key = schema_key(schema)
                cls.schema_uri = str(cls.schema_key)
            except InvalidEventError as error:
                raise ConfigurationError(f"class {cls.__name__}: {error}") from None

    if TYPE_CHECKING:

        @classmethod
        def __pydantic_init_subclass__(
            cls, *, schema: str | SchemaKey | None = None, **kwargs: Any
        ) -> None: ...

    @classmethod
    def iglu_schema(cls) -> dict[str, JSONValue]:
        """
        Return the model's JSON schema as an Iglu registry takes it.

        That is draft 4, with a ``self`` section, without references.
        """
        # Late: only tools need it.
        from snowplow_aio.model.json_schema import iglu_schema  # noqa: PLC0415

        return iglu_schema(cls)


# URIs whose form is right, so that it is looked at once; not more than anybody uses.
_known: set[str] = set()
_MOST_KNOWN = 4096


class SelfDescribingJson:
    """
    An event or a context entity as plain data; frozen, and the data goes out as it is.

    Args:
        schema: The Iglu URI of the data's schema, or a SchemaKey.

        data: Anything that JSON can say, usually a dict.

    Raises InvalidEventError when the schema is not an Iglu URI.
    """

    __slots__ = ("_data", "_schema")
    __match_args__ = ("schema", "data")

    def __init__(self, schema: str | SchemaKey, data: JSONValue) -> None:
        # Without a call where it is known: two or three are made for each event.
        if type(schema) is str and schema in _known:
            self._schema: str = schema
        else:
            self._schema = _checked(schema)
        self._data: JSONValue = data

    @property
    def schema(self) -> str:
        """The Iglu URI."""
        return self._schema

    @property
    def data(self) -> JSONValue:
        """What it describes."""
        return self._data

    def to_json(self) -> Mapping[str, JSONValue]:
        """Return the two keys of a self-describing JSON."""
        return {"schema": self._schema, "data": self._data}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SelfDescribingJson):
            return NotImplemented
        return self._schema == other._schema and bool(self._data == other._data)

    def __hash__(self) -> int:
        return hash((self._schema, self._data))

    def __repr__(self) -> str:
        return f"SelfDescribingJson(schema={self._schema!r}, data={self._data!r})"

    def __reduce__(self) -> tuple[type[SelfDescribingJson], tuple[str, JSONValue]]:
        return SelfDescribingJson, (self._schema, self._data)


def _checked(schema: str | SchemaKey) -> str:
    uri = schema_uri(schema)
    if len(_known) < _MOST_KNOWN:
        _known.add(uri)
    return uri
