"""The OpenAPI description of the server: FastAPI's, without the answers that this server never gives.

FastAPI documents a 422 of its own for every route with parameters. Here a wrong parameter is a 400 with OpenAI's error
object (errors.py), and 422 has a meaning of its own where a route declares it.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

_FASTAPIS = ("HTTPValidationError", "ValidationError")


def describe(app: FastAPI) -> None:
    """Have the application describe itself as `description` says."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = description(generate())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation does


def description(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a description without FastAPI's own validation errors. Pure."""
    paths = {
        path: {method: _without_fastapis_error(operation) for method, operation in operations.items()}
        for path, operations in schema["paths"].items()
    }
    components = schema.get("components", {})
    schemas = {name: value for name, value in components.get("schemas", {}).items() if name not in _FASTAPIS}
    return {**schema, "paths": paths, "components": {**components, "schemas": schemas}}


def _without_fastapis_error(operation: dict[str, Any]) -> dict[str, Any]:
    responses = operation["responses"]
    return {**operation, "responses": {status: each for status, each in responses.items() if not _is_fastapis(each)}}


def _is_fastapis(response: dict[str, Any]) -> bool:
    return any(
        content.get("schema", {}).get("$ref", "").endswith("/HTTPValidationError")
        for content in response.get("content", {}).values()
    )
