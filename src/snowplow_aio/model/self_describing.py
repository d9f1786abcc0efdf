"""Self-describing data: an Iglu URI and the data it describes, as a model or as plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from snowplow_aio.exceptions import ConfigurationError, InvalidEventError
from snowplow_aio.model.frozen_model import FrozenModel
from snowplow_aio.model.schema_key import SchemaKey, schema_key, schema_uri

JSONValue = Any


class SelfDescribing(FrozenModel):
    """
    The base of an event or an entity with a schema of its own.

    The same class serves as event and as entity. Instances are frozen, unknown
    fields are refused, and kinds are not mixed (``"23"`` is no int).

    A field whose default is not None is sent, set or not. A field with the default
    None is left out of the data if it was not set, and sent as null if it was set to
    None. A field whose name pydantic needs for itself (``schema``, ``json``, ``copy`` ...)
    takes another name and an alias: ``json_: str = Field(alias="json")``.

    Args:
        schema: The Iglu URI, or a `SchemaKey`; a parameter of the class. A subclass
            without one has the schema of its parent.

    Attributes:
        schema_key: The name of the schema.

        schema_uri: The same name as an Iglu URI.

    Raises:
        ConfigurationError: If a class is declared with something else.

    Example:
        Declare an event and make one::

            class SaveGame(SelfDescribing, schema="iglu:com.acme/save_game/jsonschema/1-0-2"):
                level: int

            SaveGame(level=23)
    """

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
        Return the JSON schema of the model, as an Iglu registry takes it.

        It is a schema of draft 4 with a section ``self``, and has no references.

        Raises:
            ConfigurationError: If the class has no schema, or the model contains itself.
        """
        # Imported here, because only tools need it.
        from snowplow_aio.model.json_schema import iglu_schema  # noqa: PLC0415

        key = getattr(cls, "schema_key", None)
        if key is None:
            rule = "must be a class with a schema: class X(SelfDescribing, schema='iglu:...')"
            raise ConfigurationError.about("model", cls.__name__, rule)
        return iglu_schema(cls, key)


# URIs whose form was found to be right; no more than any program uses.
_known: set[str] = set()
_MOST_KNOWN = 4096


class SelfDescribingJson:
    """
    An event or an entity as plain data, which is sent as it is; frozen.

    Args:
        schema: The Iglu URI of the data's schema, or a `SchemaKey`.

        data: Anything that JSON can say, usually a dict.

    Raises:
        InvalidEventError: If *schema* is not an Iglu URI.

    Example:
        Track an event for which there is no class::

            await tracker.track(SelfDescribingJson("iglu:com.acme/save_game/jsonschema/1-0-2", {"level": 23}))
    """

    __slots__ = ("_data", "_schema")
    __match_args__ = ("schema", "data")

    def __init__(self, schema: str | SchemaKey, data: JSONValue) -> None:
        # No call for a known one, because two or three of these are made for each event.
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
        """The data."""
        return self._data

    def to_json(self) -> Mapping[str, JSONValue]:
        """Return the schema and the data as a self-describing JSON, with these two keys."""
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
