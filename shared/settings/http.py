"""The settings of the HTTP server."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

from whisper_fleet.shared.fields import BYTES, RELOAD, ExpandedPath

#: The port of the HTTP server for which the settings name none.
USUAL_HTTP = 8000


class Http(BaseSettings):
    """The settings of the HTTP server."""

    http_address: str = Field(
        default="127.0.0.1",
        description="Address at which the HTTP server listens; without API keys it serves this machine alone.",
    )
    http_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description=f"Port of the HTTP server; left out, {USUAL_HTTP}, or any free one if that is in use.",
    )
    http_max_upload_bytes: int = Field(
        default=4 * 2**30,
        ge=1,
        json_schema_extra=BYTES | RELOAD,
        description="Maximum size of an upload; WHISPER_FLEET_MAX_FILE_BYTES holds for it, too.",
    )
    http_model_aliases: dict[str, str] = Field(
        default={},
        json_schema_extra=RELOAD,
        description='Models by other names that HTTP clients may use, as JSON such as {"whisper-1": "large-v2"};'
        " whisper-1 is the default model unless it is named here.",
    )
    http_stream: bool = Field(
        default=True,
        json_schema_extra=RELOAD,
        description="Stream text to HTTP clients that ask for it; false: ignore stream=true, as OpenAI does for"
        " whisper-1.",
    )
    upload_dir: ExpandedPath | None = Field(
        default=None,
        description="Directory of uploaded files; left out, uploads in WHISPER_FLEET_VAR_DIR. Intake and GPU nodes on"
        " other hosts read it, too, unless WHISPER_FLEET_UPLOAD_URLS names the servers.",
    )
    upload_urls: tuple[str, ...] = Field(
        default=(),
        json_schema_extra=RELOAD,
        description="HTTP servers of the fleet, such as http://10.0.0.5:8000, from which this host fetches uploads"
        " that its own upload directory lacks.",
    )
