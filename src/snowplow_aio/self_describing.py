"""Self-describing data as models: a schema's Iglu URI and the data it describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from snowplow_aio.exceptions import ConfigurationError, InvalidEventError
from snowplow_aio.iglu import SchemaKey, schema_key

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
        from snowplow_aio.json_schema import iglu_schema  # noqa: PLC0415

        return iglu_schema(cls)
