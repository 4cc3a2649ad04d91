"""`whisper-fleet submit` has an option for every field of a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from whisper_fleet.cli.jobs.request_options import keywords, request_options
from whisper_fleet.shared.request.options import TranscribeRequest
from whisper_fleet.shared.request.parsing import FleetDefaults, parse_request

DEFAULTS = FleetDefaults(default_model="base", default_precision="float16", segment_duration=300.0)


def parsed(*arguments: str) -> TranscribeRequest:
    given: dict[str, Any] = {}

    @click.command()
    @request_options
    def command(options: tuple[str, ...], **asked: Any) -> None:
        given.update(keywords(asked, options))

    CliRunner().invoke(command, list(arguments), catch_exceptions=False, standalone_mode=False)
    return parse_request({"file_path": "/a.wav", **given}, DEFAULTS)


def test_without_options_everything_is_left_to_the_fleet() -> None:
    assert parsed() == parse_request({"file_path": "/a.wav"}, DEFAULTS)


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        ("--model turbo", "model_name", "turbo"),
        ("--language German", "language", "de"),
        ("--output-dir /out", "output_path", "/out"),
        ("--output-dir out", "output_path", str(Path("out").absolute())),
        ("--format srt --format txt", "formats", ("srt", "txt")),
        ("--gpu-ids 0,host:1", "gpu_ids", ("0", "host:1")),
        ("--priority 0", "priority", 0),
        ("--tenant news", "tenant", "news"),
        ("--segment-duration 60", "segment_duration", 60.0),
        ("--precision float32", "precision", "float32"),
        ("--task translate", "task", "translate"),
        ("--word-timestamps", "word_timestamps", True),
        ("--language-detection segment", "language_detection", "segment"),
        ("--no-evidence", "evidence", False),
        ("--vad filter", "vad", "filter"),
        ("--callback-url https://h/x", "callback_url", "https://h/x"),
        ("--option beam_size=5 --option initial_prompt=1984", "options", {"beam_size": 5, "initial_prompt": "1984"}),
    ],
)
def test_every_field_of_a_request_has_an_option(arguments: str, field: str, value: object) -> None:
    assert getattr(parsed(*arguments.split()), field) == value


@pytest.mark.parametrize("arguments", ["--priority 10", "--segment-duration 5", "--precision int8", "--format pdf"])
def test_the_limits_of_a_field_are_those_of_its_option(arguments: str) -> None:
    with pytest.raises(click.BadParameter):
        parsed(*arguments.split())
