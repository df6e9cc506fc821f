"""Examples for the OpenAPI document, put together from those that the models give for their members."""

from collections.abc import Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

#: What a string of a format looks like, where the member gives no example of its own.
_FORMATS: Final = {
    "date-time": "2026-11-24T05:30:00.123Z",
    "uuid": "019ab3c4-5d6e-7f80-9123-456789abcdef",
    "uri": "https://example.org/",
}
#: Models may contain themselves.
_MAX_DEPTH: Final = 8
_NOTHING: Final = object()


def complete(document: dict[str, Any]) -> None:
    """Give every JSON body and every path parameter an example, where it has none."""
    schemas: Mapping[str, Schema] = document["components"]["schemas"]
    whole, least = _Maker(schemas), _Maker(schemas, only_required=True)
    for operations in document["paths"].values():
        for operation in operations.values():
            _fill(operation.get("requestBody", {}), least)
            for status, answer in operation["responses"].items():
                if status.startswith("2"):
                    _fill(answer, whole)
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    parameter.setdefault("example", whole.named(parameter["name"]))


def _fill(body: Schema, maker: "_Maker") -> None:
    content = body.get("content", {}).get("application/json")
    if content is not None and not content.get("example"):
        content["example"] = maker.make(content.get("schema", {}))


class _Maker:
    def __init__(self, schemas: Mapping[str, Schema], *, only_required: bool = False) -> None:
        self._schemas = schemas
        self._max_depth = 0 if only_required else _MAX_DEPTH
        self._by_name: dict[str, Any] = {}
        for schema in schemas.values():
            for name, member in schema.get("properties", {}).items():
                for example in member.get("examples", ())[:1]:
                    if isinstance(example, str):
                        self._by_name.setdefault(name, example)

    def named(self, name: str) -> str:
        """What a text member of that name looks like elsewhere."""
        return str(self._by_name.get(name, "..."))

    def make(self, schema: Schema, name: str = "", depth: int = 0) -> Any:
        """An instance of ``schema``; ``name`` is that of the member which it is for."""
        if "$ref" in schema:
            return self.make(self._schemas[schema["$ref"].rpartition("/")[2]], name, depth + 1)
        if (given := _given(schema)) is not _NOTHING:
            return given
        for keyword in ("anyOf", "oneOf", "allOf"):
            if schema.get(keyword):
                return self.make(self._first(schema[keyword], depth), name, depth + 1)
        match schema.get("type"):
            case "object":
                members = schema.get("properties", {})
                wanted = schema.get("required", ()) if depth >= self._max_depth else members
                return {member: self.make(members[member], member, depth + 1) for member in wanted if member in members}
            case "array":
                few = depth > self._max_depth and not schema.get("minItems")
                return [] if few else [self.make(schema.get("items", {}), name, depth + 1)]
            case "string":
                return self._by_name.get(name) or _FORMATS.get(schema.get("format", ""), "...")
            case str(kind):
                return {"integer": schema.get("minimum", 1), "number": 0.5, "boolean": True}.get(kind)
        return {}

    def _first(self, choices: list[Schema], depth: int) -> Schema:
        """The one to show: what it is, rather than that it may be absent."""
        told = [choice for choice in choices if choice.get("type") != "null"]
        return choices[-1] if depth > self._max_depth or not told else told[0]


def _given(schema: Schema) -> Any:
    """What the schema itself says that it may look like."""
    for keyword in ("examples", "enum"):
        if schema.get(keyword):
            return schema[keyword][0]
    return next((schema[keyword] for keyword in ("example", "const", "default") if keyword in schema), _NOTHING)
