"""The OpenAPI description of a submission, whose body FastAPI does not read itself."""

from __future__ import annotations

from typing import Any

from whisper_fleet.http.jobs.requests import FILE_ID, KEEP_FILE
from whisper_fleet.shared.fields import FieldDoc
from whisper_fleet.shared.request.parsing import describe_options

_TYPES = {"text": "string", "path": "string", "true or false": "boolean", "number": "number", "whole number": "integer"}


def _property(field: FieldDoc) -> dict[str, Any]:
    kind = field.type.removesuffix(" or none")
    shape: dict[str, Any] = {"description": field.description}
    if kind in _TYPES:
        shape["type"] = _TYPES[kind]
    elif kind.startswith("one of"):
        shape |= {"type": "string", "enum": list(field.choices)}
    elif kind == "names and texts":
        shape |= {"type": "object", "additionalProperties": {"type": "string"}}
    return shape


_OPTIONS: dict[str, Any] = {
    "model": {"type": "string", "description": "A model of `GET /v1/models`; `model_name` is the same."},
    **{field.name: _property(field) for field in describe_options()},
}
_STORED = {
    FILE_ID: {"type": "string", "description": "A file of `/v1/files`, or of a resumable upload."},
    KEEP_FILE: {"type": "boolean", "default": True, "description": "False: the stored file ends with the job."},
}
_FILE = {"file": {"type": "string", "format": "binary", "description": "The audio or video file."}}

SUBMISSION: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object", "properties": {**_STORED, **_OPTIONS}}},
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["file"], "properties": {**_FILE, **_OPTIONS}}
            },
        },
    }
}
