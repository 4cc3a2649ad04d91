"""Random requests for `transcribe`: valid ones, ones with something broken in them, and nonsense. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from whisper_fleet.shared.request.options import TranscribeRequest, WhisperOptions

#: Every option of a request: one that is added is attacked, too.
OPTIONS = sorted({*TranscribeRequest.model_fields, *WhisperOptions.model_fields} - {"options"})

#: Values that are right for the option, and cheap for the engine.
_VALID: Mapping[str, tuple[Any, ...]] = {
    "language": ("en", "german", None, "auto"),
    "language_detection": ("job", "segment"),
    "formats": (["txt"], "srt,vtt", ["all"]),
    "priority": (0, 5, 9),
    "tenant": ("", "a", "b/c", "d:e", "%", "\u00e4", "x" * 255),
    "segment_duration": (30, 300.0, 3600),
    "precision": ("float32",),
    "task": ("transcribe", "translate"),
    "word_timestamps": (False, True),
    "evidence": (False, True),
    "vad": ("off", "filter", "cut"),
    "channel": ("mix", "left", 0),
    "keep_time": (False, True),
    "temperature": (0.0, 0, [0.0], [0.0, 0.2]),
    "compression_ratio_threshold": (2.4, None),
    "logprob_threshold": (-1.0, None),
    "no_speech_threshold": (0.6, None),
    "condition_on_previous_text": (True, False),
    "initial_prompt": ("Names: Anna.", None),
    "suppress_tokens": ("-1", "", [1, 2], None),
    "without_timestamps": (True, False),
    "max_initial_timestamp": (1.0, None),
    "beam_size": (1, 2),
    "best_of": (1, 2),
    "sample_len": (1, 8),
    "length_penalty": (0.5, None),
}

#: Values that no option should have, or that some take for another type.
_BROKEN: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 10**9, 10**30, -(10**30), 0.5, 1e308, -1e308, float("nan"), float("inf")),
    *("", " ", "\0", "a\0b", "\x1b[2J", "\u202egpj.exe", "\ud800", "\U0001f600" * 50, "x" * 5000, "x" * 300_000),
    *("None", "true", "-1", "1e9", "{}", "[]", "{0}", "%s%s%n", "$(reboot)", "`id`", "' OR 1=1 --", "../../etc/passwd"),
    *(
        "/",
        "//",
        "/.",
        "/dev/null",
        "/dev/zero",
        "/dev/stdin",
        "/proc/self/environ",
        "/etc/shadow",
        "file:///etc/passwd",
    ),
    *("http://", "http://[", "http://127.0.0.1:1/x", "https://a@b:c@d/", "gopher://x", "concat:/etc/passwd", "pipe:0"),
    *("<|endoftext|>", "<|startoftranscript|>", "<|0.00|>", "GPU-0", "host:1", "a" * 64 + ":1"),
    *(
        [],
        [[]],
        [None],
        [1, "a"],
        ["x"] * 1000,
        list(range(60_000)),
        {},
        {"a": {"b": []}},
        {"": ""},
        [{}],
        [[[[[[]]]]]],
    ),
)


class RandomRequests:
    """Makes requests from a seed: the same seed gives the same requests."""

    def __init__(self, seed: int, files: tuple[Path, ...], folder: Path) -> None:
        self._random = random.Random(seed)
        self._files = files
        self._folder = folder

    def make(self) -> dict[str, Any]:
        """Return the keyword arguments of one request; about one in eight can be carried out."""
        kinds: tuple[tuple[int, Callable[[], dict[str, Any]]], ...] = (
            (14, self._valid),
            (40, self._with_one_broken),
            (20, self._with_several_broken),
            (12, self._with_an_unknown_name),
            (8, self._with_another_file),
            (6, self._nonsense),
        )
        weights = [weight for weight, _ in kinds]
        return self._random.choices([make for _, make in kinds], weights)[0]()

    def _valid(self) -> dict[str, Any]:
        chosen = self._random.sample(sorted(_VALID), self._random.randint(0, 4))
        request = {name: self._random.choice(_VALID[name]) for name in chosen}
        if self._random.random() < 0.2:
            request["output_path"] = str(self._folder / f"out-{self._random.randint(0, 9)}")
        # A window of random weights would run to its limit, and a valid request is to cost little.
        return {"sample_len": 8, "temperature": 0.0, **request, "file_path": str(self._random.choice(self._files))}

    def _with_one_broken(self) -> dict[str, Any]:
        return {**self._valid(), self._random.choice(OPTIONS): self._random.choice(_BROKEN)}

    def _with_several_broken(self) -> dict[str, Any]:
        names = self._random.sample(OPTIONS, self._random.randint(2, 6))
        return {**self._valid(), **{name: self._random.choice(_BROKEN) for name in names}}

    def _with_an_unknown_name(self) -> dict[str, Any]:
        name = self._random.choice(
            ("", "langauge", "__class__", "self", "options", "job", "\x1b[0m", "x" * 5000, "fp16")
        )
        return {**self._valid(), name: self._random.choice(_BROKEN)}

    def _with_another_file(self) -> dict[str, Any]:
        strange = [value for value in _BROKEN if isinstance(value, str)]
        return {**self._valid(), "file_path": self._random.choice(strange)}

    def _nonsense(self) -> dict[str, Any]:
        names = (*OPTIONS, "a", "b", "")
        return {self._random.choice(names): self._random.choice(_BROKEN) for _ in range(self._random.randint(0, 12))}
