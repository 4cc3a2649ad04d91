"""How much one request and one tenant may ask of a fleet: the settings of its limits.

The defaults are far above what speech needs, and far below what stops a fleet.
"""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

from whisper_fleet.shared.fields import BYTES, RELOAD, SECONDS


class Limits(BaseSettings):
    """The limits among the settings of a fleet."""

    max_audio_seconds: float = Field(
        default=86_400.0,
        gt=0,
        le=30 * 86_400.0,
        json_schema_extra=SECONDS | RELOAD,
        description="Maximum length of a job's audio: a day of recording is 3 GB in the spool.",
    )
    max_file_bytes: int = Field(
        default=64 * 2**30,
        ge=1,
        json_schema_extra=BYTES | RELOAD,
        description="Maximum size of a job's file: a day of video at 5 Mbit/s has 54 GB.",
    )
    max_expansion: float = Field(
        default=0.1,
        gt=0,
        json_schema_extra={"unit": "s/byte", **RELOAD},
        description="Maximum length of audio per byte of its file, for more than ten minutes of audio; speech codecs"
        " stay below 0.02.",
    )
    decode_timeout: float = Field(
        default=3600.0,
        gt=0,
        json_schema_extra=SECONDS | RELOAD,
        description="Decoding one file may take this long; an hour of audio takes seconds.",
    )
    download_timeout: float = Field(
        default=600.0,
        gt=0,
        json_schema_extra=SECONDS | RELOAD,
        description="Fetching one URL may take this long, from the first look-up to the last byte.",
    )
    max_waiting_jobs: int = Field(
        default=100_000,
        ge=1,
        json_schema_extra=RELOAD,
        description="Maximum number of jobs that one tenant has waiting for GPUs; Redis keeps a few KB for each.",
    )
