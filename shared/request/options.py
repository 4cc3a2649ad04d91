"""Every option of `transcribe`, declared once.

A field has its type, range, unit and description. The errors of a wrong value, the options of `whisper-fleet submit`
and the reference page are made from them, so a new option is one more field.
"""

from __future__ import annotations

import operator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from whisper_fleet.shared.fields import SECONDS, SegmentSeconds
from whisper_fleet.shared.formats import FORMATS
from whisper_fleet.shared.models import Precision
from whisper_fleet.shared.request.values import (
    WhenSent,
    check_tenant,
    no_nul,
    no_token,
    output_address,
    read_channel,
    read_formats,
    read_gpu_ids,
    read_labels,
    read_language,
    web_address,
)
from whisper_fleet.shared.serialization import Wire

_Text = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=4096), AfterValidator(WhenSent(no_nul))]
_TextOrEmpty = Annotated[str, StringConstraints(strict=True, max_length=4096)]
_Flag = Annotated[bool, Field(strict=True)]
_Format = Annotated[str, Field(json_schema_extra={"enum": list(FORMATS)})]


class TranscribeRequest(Wire):
    """What a client asks for: the fleet's own options, and in `options` those of whisper.

    The ledger keeps it, and segments are cut from it. Defaults that belong to a fleet are set by
    `whisper_fleet.shared.request.parsing.parse_request`.
    """

    file_path: _Text = Field(
        description="Absolute path of one audio or video file as the fleet's machines see it, or an allowed URL, also"
        " of a bucket (s3://, gs://, az://)."
    )
    model_name: _Text = Field(description="Name of a Whisper model, or absolute path of a checkpoint.")
    language: Annotated[_Text | None, BeforeValidator(WhenSent(read_language))] = Field(
        default=None, description="Language code such as en, or its English name; left out, it is detected."
    )
    language_detection: Literal["job", "segment"] = Field(
        default="job",
        description="Detect the language once per file, as whisper does, or for each segment, if a file changes it.",
    )
    output_path: Annotated[_Text | None, AfterValidator(WhenSent(output_address))] = Field(
        default=None,
        description="Absolute path of the directory for the transcripts, or of one file that ends in a format's name;"
        " also an allowed address in a bucket, such as s3://bucket/folder; left out, none are written.",
    )
    formats: Annotated[tuple[_Format, ...], BeforeValidator(WhenSent(read_formats))] = Field(
        default=FORMATS, description="Formats of the transcripts to write."
    )
    gpu_ids: Annotated[tuple[str, ...], BeforeValidator(WhenSent(read_gpu_ids))] = Field(
        default=(),
        description='Only these GPUs: "1" is that index on any host, "host:1" one GPU, and a UUID too; none: any GPU.',
    )
    priority: int = Field(default=5, strict=True, ge=0, le=9, description="0 is the most urgent.")
    tenant: Annotated[_TextOrEmpty, AfterValidator(WhenSent(check_tenant))] = Field(
        default="", description="Who shares the fleet: GPUs are divided fairly by tenants."
    )
    segment_duration: Annotated[SegmentSeconds, Field(strict=True)] = Field(
        default=300.0, description="Maximum length of the pieces into which the file is cut."
    )
    precision: Precision = Field(default="float16", description="Number format in which the model computes.")
    task: Literal["transcribe", "translate"] = Field(
        default="transcribe", description="Transcribe in the spoken language, or translate to English."
    )
    word_timestamps: _Flag = Field(default=False, description="Also give the times of words.")
    evidence: _Flag = Field(
        default=True, description="Give the reasons (suspect) with a segment of the transcript that may be invented."
    )
    vad: Literal["off", "filter", "cut"] = Field(
        default="off",
        description="Use a voice activity detector: filter drops what is transcribed where nobody speaks; cut divides"
        " long files where nobody speaks, instead of where it is quiet.",
    )
    # The options that follow are left out of the JSON where they are not set, as whatever reads it expects.
    audio_track: int | None = Field(
        default=None,
        strict=True,
        ge=0,
        le=999,
        description="Which audio track of the file, as ffmpeg's 0:a:N: 0 is the first; left out, ffmpeg chooses one.",
    )
    channel: Annotated[str | None, BeforeValidator(WhenSent(read_channel))] = Field(
        default=None,
        description="Only this channel of the track: left, right, or its index from 0; mix, the default: all, mixed.",
    )
    keep_time: bool = Field(
        default=False,
        strict=True,
        exclude_if=operator.not_,
        description="Keep the file's own time: silence where its sound starts late or has a hole.",
    )
    max_line_width: int | None = Field(
        default=None,
        strict=True,
        ge=1,
        le=1000,
        json_schema_extra={"unit": "characters"},
        description="Of srt and vtt, with word timestamps: the longest line.",
    )
    max_line_count: int | None = Field(
        default=None,
        strict=True,
        ge=1,
        le=100,
        json_schema_extra={"unit": "lines"},
        description="Of srt and vtt, with word timestamps and max_line_width: the most lines of a subtitle.",
    )
    max_words_per_line: int | None = Field(
        default=None,
        strict=True,
        ge=1,
        le=1000,
        json_schema_extra={"unit": "words"},
        description="Of srt and vtt, with word timestamps and without max_line_width: the most words of a line.",
    )
    highlight_words: bool = Field(
        default=False,
        strict=True,
        exclude_if=operator.not_,
        description="Of srt and vtt, with word timestamps: underline each word while it is spoken.",
    )
    labels: Annotated[dict[str, str], BeforeValidator(WhenSent(read_labels))] = Field(
        default={},
        exclude_if=operator.not_,
        description="Names and texts of your own, such as project=x,speaker=y, by which jobs can be listed.",
    )
    options: dict[str, Any] = Field(default_factory=dict)  # of WhisperOptions, those that were given
    callback_url: Annotated[_Text | None, AfterValidator(WhenSent(web_address))] = Field(
        default=None, description="Address that receives a signed webhook when the job has ended; it must be allowed."
    )

    @property
    def language_is_detected(self) -> bool:
        """Whether the job has one language, which a GPU has to detect."""
        return self.language is None and self.language_detection == "job"


_Rows = Annotated[int, Field(strict=True, ge=1, le=16)]
_Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Fraction = Annotated[float, Field(strict=True, ge=0, le=1)]
_LongText = Annotated[str, StringConstraints(strict=True, max_length=10_000)]
_Spoken = Annotated[_LongText, AfterValidator(no_token)]
_Numbers = Annotated[str, StringConstraints(strict=True, max_length=10_000, pattern=r"^\s*(-?\d+\s*(,\s*-?\d+\s*)*)?$")]
# 52,000 is more than any model has.
_Tokens = Annotated[list[Annotated[int, Field(strict=True, ge=-1)]], Field(max_length=52_000)]


class WhisperOptions(BaseModel):
    """The arguments of `whisper.transcribe()` that a job may set; defaults are whisper's.

    Not among them: what the fleet decides (fp16, verbose), and what contradicts its cutting (clip_timestamps, prompt).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: _Fraction | Annotated[list[_Fraction], Field(min_length=1, max_length=10)] = Field(
        default=[0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
        description="Sampling temperature, or those to try in order when a window's text looks wrong; 0 is greedy.",
    )
    compression_ratio_threshold: _Number | None = Field(
        default=2.4, description="Text that gzip compresses by more than this is repetitive: try the next temperature."
    )
    logprob_threshold: _Number | None = Field(
        default=-1.0, description="Text with a lower average log probability is uncertain: try the next temperature."
    )
    no_speech_threshold: _Fraction | None = Field(
        default=0.6, description="A window with a higher probability of no speech, and an uncertain text, is silent."
    )
    condition_on_previous_text: _Flag = Field(
        default=True, description="Prompt each window with the text before it, within one segment."
    )
    initial_prompt: _Spoken | None = Field(default=None, description="Text that the first window is prompted with.")
    carry_initial_prompt: _Flag = Field(default=False, description="Prompt every window with initial_prompt.")
    prepend_punctuations: _LongText = Field(
        default="\"'\u201c\u00bf([{-", description="With word timestamps: punctuation that belongs to the next word."
    )
    append_punctuations: _LongText = Field(
        default="\"'.\u3002,\uff0c!\uff01?\uff1f:\uff1a\u201d)]}\u3001",
        description="With word timestamps: punctuation that belongs to the word before it.",
    )
    hallucination_silence_threshold: Annotated[_Number, Field(ge=0)] | None = Field(
        default=None,
        json_schema_extra=SECONDS,
        description="With word timestamps: skip silence longer than this around a possible hallucination.",
    )
    sample_len: Annotated[int, Field(strict=True, ge=1, le=448)] | None = Field(
        default=None, json_schema_extra={"unit": "tokens"}, description="Maximum length of a window's text."
    )
    best_of: _Rows | None = Field(
        default=None, description="Samples per window at temperatures above 0; the most probable one is kept."
    )
    beam_size: _Rows | None = Field(default=None, description="Beams per window at temperature 0.")
    patience: Annotated[_Number, Field(gt=0)] | None = Field(
        default=None, description="Patience of the beam search; needs beam_size."
    )
    length_penalty: _Fraction | None = Field(
        default=None, description="Exponent by which longer beams are preferred; none: plain length normalisation."
    )
    prefix: _Spoken | None = Field(default=None, description="Text with which every window begins.")
    suppress_tokens: _Numbers | _Tokens | None = Field(
        default="-1", description="Token ids never to sample; -1 stands for whisper's list of symbols."
    )
    suppress_blank: _Flag = Field(default=True, description="Never begin a window with a blank.")
    without_timestamps: _Flag = Field(default=False, description="Decode text only, without timestamps.")
    max_initial_timestamp: Annotated[_Number, Field(ge=0, le=30)] | None = Field(
        default=1.0, json_schema_extra=SECONDS, description="Latest time at which a window's first text may begin."
    )
