"""The end-to-end benchmark gives every way the same files, and counts the best of what it tries."""

from __future__ import annotations

import json
import wave
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.end_to_end import others
from benchmarks.end_to_end.corpus import Recording, make_corpus, seconds_of
from benchmarks.end_to_end.fleet import Figure, percentiles
from benchmarks.end_to_end.others import Means, best_prefork, faster_whisper

FILES = (Recording(Path("/a.wav"), 30.0), Recording(Path("/b.wav"), 90.0))


def means(python: str = "python") -> Means:
    return Means(
        checkpoint=Path("/base.pt"),
        device="cpu",
        prompts=True,
        python=python,
        ctranslate2=Path("/ct2"),
        transformers=None,
    )


def test_recordings_have_the_lengths_and_the_formats_by_turns(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, ("wav", "mp3"), short=3, between=(1.0, 2.0), long=[3.0])
    assert [one.seconds for one in corpus.short] == [1.0, 1.5, 2.0]
    assert [one.path.suffix for one in corpus.short] == [".wav", ".mp3", ".wav"]
    assert [one.path.suffix for one in corpus.long] == [".mp3"]
    assert all(one.path.stat().st_size > 1000 for one in (*corpus.short, *corpus.long, corpus.clip))
    with wave.open(str(corpus.short[0].path)) as file:
        assert file.getnframes() == 16_000
    assert seconds_of(corpus.short) == 4.5


def test_a_percentile_is_only_given_where_there_are_measurements_enough() -> None:
    assert percentiles([3.0, 1.0, 2.0]) == {"clips": 3, "p50": 2.0, "longest": 3.0}
    assert percentiles([]) == {"clips": 0}
    assert percentiles([float(at) for at in range(1, 101)]) == {
        "clips": 100,
        "p50": 50.5,
        "longest": 100.0,
        "p99": 99.99,
    }


def test_the_best_number_of_processes_counts_and_the_others_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(_: Means, what: str, recordings: Sequence[Recording], processes: int) -> Figure:
        seconds = {1: 12.0, 2: 6.0, 4: 8.0}[processes]
        return Figure(way=f"prefork {processes}", what=what, seconds=seconds, audio=seconds_of(recordings))

    monkeypatch.setattr(others, "prefork", measured)
    best = best_prefork(means(), "short", FILES, (1, 2, 4))
    assert (best.way, best.realtime) == ("prefork 2", 20.0)
    assert best.notes == {"of": {1: 10.0, 2: 20.0, 4: 15.0}}


def test_scripts_of_others_get_the_files_and_their_last_line_counts(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nprintf "%s" "$2" > {tmp_path}/given\necho a warning\necho \'{{"seconds": 6.0}}\'\n')
    python.chmod(0o700)
    figure = faster_whisper(means(str(python)), "short", FILES)
    assert figure.realtime == 20.0
    assert json.loads((tmp_path / "given").read_text()) == {
        "model": "/ct2",
        "device": "cpu",
        "prompts": True,
        "files": ["/a.wav", "/b.wav"],
    }
