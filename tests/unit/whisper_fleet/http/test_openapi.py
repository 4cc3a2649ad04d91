"""The OpenAPI description names every status that the server can answer with, and none that it cannot."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import whisper_fleet.http
from whisper_fleet.http import errors
from whisper_fleet.http.app import create_app
from whisper_fleet.shared.settings import Settings

SOURCES = Path(inspect.getfile(whisper_fleet.http)).parent


@pytest.fixture(scope="module")
def operations() -> dict[str, dict[str, Any]]:
    """The description of each route, by its method and path."""
    schema = create_app(Settings()).openapi()
    return {
        f"{method.upper()} {path}": operation
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }


def raised_statuses() -> Iterator[tuple[int, str]]:
    """Yield each status that the code makes an ApiError of, with the file that does."""
    for file in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ApiError" and node.args:
                for constant in ast.walk(node.args[0]):
                    if isinstance(constant, ast.Constant) and isinstance(constant.value, int):
                        yield constant.value, file.name
    for status in errors._STATUSES.values():
        yield status, "errors.py"


def test_every_status_in_the_code_is_described(operations: dict[str, dict[str, Any]]) -> None:
    everywhere = set.intersection(*({int(status) for status in each["responses"]} for each in operations.values()))
    rare = {(status, file) for status, file in raised_statuses() if status not in everywhere}
    assert rare == {
        (412, "uploads.py"),
        (416, "audio.py"),
        (422, "idempotency.py"),
        (423, "resumable.py"),
    }
    having = {
        status: {name for name, each in operations.items() if str(status) in each["responses"]}
        for status in (412, 416, 422, 423)
    }
    assert having == {
        412: {"POST /v1/uploads", "PATCH /v1/uploads/{upload_id}"},
        416: {"GET /v1/jobs/{job}/audio"},
        422: {"POST /v1/jobs"},
        423: {"PATCH /v1/uploads/{upload_id}"},
    }


def test_every_error_is_described_as_openais_object(operations: dict[str, dict[str, Any]]) -> None:
    for name, operation in operations.items():
        for status, response in operation["responses"].items():
            if int(status) >= 400 and "content" in response:
                schema = response["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorBody"}, (name, status)
