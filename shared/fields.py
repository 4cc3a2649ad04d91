"""What declared fields have in common: units, ranges, and their description for the CLI and the reference pages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field
from pydantic.config import JsonDict

#: For `Field(json_schema_extra=...)`: the unit of a number.
SECONDS: JsonDict = {"unit": "s"}
BYTES: JsonDict = {"unit": "bytes"}
#: For the same argument of a setting: a reload changes it in a process that runs. So code reads it when it uses it.
RELOAD: JsonDict = {"reload": True}


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError("it is unknown whose home is meant") from None


#: A path of which a leading `~` is resolved.
ExpandedPath = Annotated[Path, AfterValidator(_expanded)]

#: The length of the pieces into which a file is cut, for the fleet and for one request.
SegmentSeconds = Annotated[float, Field(ge=30, le=3600, json_schema_extra=SECONDS)]

_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "names and texts",
    "null": "none",
}


@dataclass(frozen=True, kw_only=True)
class FieldDoc:
    """One field of a model, in words."""

    name: str
    type: str
    default: str  # as JSON; empty: it must be given, or depends on the machine
    range: str  # empty: any value of the type
    unit: str  # empty: none
    description: str
    choices: tuple[str, ...] = ()  # the only values, or those of a list's items
    minimum: float | None = None  # of a number
    maximum: float | None = None
    is_whispers: bool = False  # an argument of whisper.transcribe()
    is_reloadable: bool = False  # a setting that a reload changes; see shared/settings/reload.py


def describe(model: type[BaseModel]) -> list[FieldDoc]:
    """Return the fields of a model in the order of their declaration."""
    properties = model.model_json_schema(mode="validation")["properties"]
    return [_described(name, schema) for name, schema in properties.items()]


def _described(name: str, schema: dict[str, Any]) -> FieldDoc:
    kinds = schema.get("anyOf", [schema])
    return FieldDoc(
        name=name,
        type=" or ".join(dict.fromkeys(map(_type, kinds))),
        default=json.dumps(schema["default"], ensure_ascii=False) if "default" in schema else "",
        range=", ".join(filter(None, map(_range, kinds))),
        unit=schema.get("unit", ""),
        description=schema.get("description", ""),
        choices=next((choices for choices in map(_choices, kinds) if choices), ()),
        minimum=next((kind["minimum"] for kind in kinds if "minimum" in kind), None),
        maximum=next((kind["maximum"] for kind in kinds if "maximum" in kind), None),
        is_reloadable=bool(schema.get("reload", False)),
    )


def _choices(kind: dict[str, Any]) -> tuple[str, ...]:
    kind = kind.get("items", kind)
    return tuple(kind.get("enum", ()))


def _type(kind: dict[str, Any]) -> str:
    if "enum" in kind:
        return "one of " + ", ".join(kind["enum"])
    if kind.get("type") == "array":
        return "list of " + _type(kind["items"]).removeprefix("one of ")
    return "path" if kind.get("format") == "path" else _TYPES.get(kind.get("type", ""), "any value")


def _range(kind: dict[str, Any]) -> str:
    """Return the limits of a number, or of the length of a text or list."""
    least, most = kind.get("minimum"), kind.get("maximum")
    limits = [
        "" if least is None or most is None else f"{least:g} to {most:g}",
        "" if least is None or most is not None else f"at least {least:g}",
        "" if most is None or least is not None else f"at most {most:g}",
        f"more than {kind['exclusiveMinimum']:g}" if "exclusiveMinimum" in kind else "",
        f"less than {kind['exclusiveMaximum']:g}" if "exclusiveMaximum" in kind else "",
        f"at most {kind['maxLength']} characters" if "maxLength" in kind else "",
        f"at most {kind['maxItems']} items" if "maxItems" in kind else "",
    ]
    return ", ".join(filter(None, limits))
