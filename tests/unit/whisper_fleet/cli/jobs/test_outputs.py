"""Where transcripts go for what was named on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from whisper_fleet.cli.jobs.inputs import Input, has_output, output_of


@pytest.mark.parametrize(
    ("output_dir", "folder", "place"),
    [
        (None, "day", None),
        ("/out", ".", "/out"),
        ("/out", "day", "/out/day"),
        ("out", "day", str(Path("out/day").absolute())),
        ("s3://bucket/out", ".", "s3://bucket/out"),
        ("s3://bucket/out/", "day", "s3://bucket/out/day"),
    ],
)
def test_output_keeps_the_structure_of_the_directory(output_dir: str | None, folder: str, place: str | None) -> None:
    assert output_of(Input(file="/in/a.wav", folder=Path(folder)), output_dir, next_to_input=False) == place


def test_nothing_in_a_bucket_counts_as_done() -> None:
    assert not has_output(Input(file="/in/a.wav"), "s3://bucket/out", ("txt",))
