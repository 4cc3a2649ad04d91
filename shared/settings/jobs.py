"""What requests get that do not say otherwise, and what they may name."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

from whisper_fleet.shared.fields import BYTES, RELOAD, SECONDS, ExpandedPath, SegmentSeconds
from whisper_fleet.shared.models import CrossAttention, Precision


class Jobs(BaseSettings):
    """What requests get that do not say otherwise, and what they may name."""

    default_model: str = Field(
        default="base", json_schema_extra=RELOAD, description="Model of requests that name none."
    )
    default_precision: Precision = Field(
        default="float16", json_schema_extra=RELOAD, description="Precision of requests that name none."
    )
    cross_attention: CrossAttention = Field(
        default="auto",
        description="How encoded audio is kept and attended to; auto: the form that suits the GPU.",
    )
    reproducible: bool = Field(
        default=False,
        description="Give the same bytes for the same audio whatever else an engine is computing; that costs a third"
        " to a half of a GPU's speed: see docs/benchmarks/engine.md.",
    )
    bit_exact_encoder: bool = Field(
        default=True,
        description="Encode audio to the last bit as whisper does in float16. Without it a Hopper GPU encodes faster,"
        " and rounds differently: see docs/internals/engine.md.",
    )
    segment_duration: SegmentSeconds = Field(
        default=300.0,
        json_schema_extra=SECONDS | RELOAD,
        description="Maximum length of the pieces into which a file is cut.",
    )
    cutter: str = Field(
        default="pause",
        json_schema_extra=RELOAD,
        description="How a file is cut into segments: pause, voice (where nobody speaks), or the name of an extension"
        " (whisper_fleet.scheduler.intake.cutters).",
    )
    decoders: int | None = Field(
        default=None,
        ge=1,
        description="Number of long files that intake decodes at a time on this host; left out, its physical cores.",
    )
    max_attempts: int = Field(
        default=3,
        ge=1,
        json_schema_extra=RELOAD,
        description="Attempts at a segment, and at planning or assembling a job, before the job fails.",
    )
    media_roots: tuple[ExpandedPath, ...] = Field(
        default=(),
        json_schema_extra=RELOAD,
        description="Directories that file_path and output_path must be below; empty: any that the process may use.",
    )
    url_prefixes: tuple[str, ...] = Field(
        default=(),
        json_schema_extra=RELOAD,
        description="URL prefixes that file_path may start with, also of buckets; empty: URLs are refused.",
    )
    output_prefixes: tuple[str, ...] = Field(
        default=(),
        json_schema_extra=RELOAD,
        description="Prefixes of bucket addresses, such as s3://transcripts/, that output_path may start with; empty:"
        " buckets are refused.",
    )
    callback_prefixes: tuple[str, ...] = Field(
        default=(),
        json_schema_extra=RELOAD,
        description="URL prefixes that callback_url may start with; empty: callbacks are refused.",
    )
    job_retention: float = Field(
        default=7 * 86400.0,
        gt=0,
        json_schema_extra=SECONDS | RELOAD,
        description="How long a finished job and its result are kept.",
    )
    spool_limit_bytes: int = Field(
        default=50 * 2**30, ge=0, json_schema_extra=BYTES | RELOAD, description="Maximum size of the spool."
    )
