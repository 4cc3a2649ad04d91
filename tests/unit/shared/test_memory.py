"""The one formula for memory gives the sizes that whisper's tensors have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from whisper_fleet.shared.memory import (
    CUDA_CONTEXT_BYTES,
    ELEMENT_BYTES,
    ENCODER_ROWS,
    form_of,
    forms_of,
    memory_of,
)
from whisper_fleet.shared.models import MODELS, CrossAttention, Form, Precision, parameters

MB = 1e6


@pytest.mark.parametrize(
    ("name", "weights", "cross", "self_kv"),
    [  # MB in float16, worked out by hand from the shapes of the tensors
        ("tiny", 75.5, 9.22, 2.75),
        ("base", 145.2, 18.43, 5.51),
        ("small", 483.5, 55.30, 16.52),
        ("medium", 1527.7, 147.46, 44.04),
        ("large-v2", 3086.6, 245.76, 73.40),
        ("large-v3", 3087.0, 245.76, 73.40),
        ("turbo", 1617.8, 30.72, 9.18),
    ],
)
def test_official_models_have_known_sizes(name: str, weights: float, cross: float, self_kv: float) -> None:
    memory = memory_of(MODELS[name], "float16", device="cuda", segment_duration=300)
    assert memory.weights / MB == pytest.approx(weights, abs=0.06)
    assert memory.cross / MB == pytest.approx(cross, abs=0.006)
    assert memory.self_kv / MB == pytest.approx(self_kv, abs=0.006)


def test_float32_doubles_all_that_is_kept_in_the_models_precision() -> None:
    half = memory_of(MODELS["small"], "float16", device="cuda", segment_duration=300)
    single = memory_of(MODELS["small"], "float32", device="cuda", segment_duration=300)
    assert single.weights == 2 * half.weights
    assert (single.cross, single.self_kv) == (2 * half.cross, 2 * half.self_kv)
    assert single.encoder == 2 * half.encoder
    assert (single.logits, single.context) == (half.logits, half.context)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_both_half_precisions_cost_the_same(precision: Precision) -> None:
    memory = memory_of(MODELS["base"], precision, device="cuda", segment_duration=300)
    assert memory == memory_of(MODELS["base"], "float16", device="cuda", segment_duration=300)


def test_beams_share_the_encoded_window_but_not_the_text() -> None:
    one = memory_of(MODELS["base"], "float16", device="cuda", segment_duration=300)
    five = memory_of(MODELS["base"], "float16", device="cuda", segment_duration=300, rows_per_slot=5)
    assert five.cross == one.cross
    assert five.self_kv == 5 * one.self_kv
    assert five.logits == 5 * one.logits


def test_a_cpu_has_no_cuda_context_and_no_graphs() -> None:
    memory = memory_of(MODELS["base"], "float32", device="cpu", segment_duration=300)
    assert (memory.context, memory.graphs) == (0, 0)
    on_gpu = memory_of(MODELS["base"], "float32", device="cuda", segment_duration=300)
    assert on_gpu.context == CUDA_CONTEXT_BYTES
    assert on_gpu.encoder > memory.encoder  # a CPU encodes one window at a time


def test_segment_duration_costs_host_memory_only() -> None:
    short = memory_of(MODELS["base"], "float16", device="cuda", segment_duration=30)
    long = memory_of(MODELS["base"], "float16", device="cuda", segment_duration=3600)
    assert replace(long, host=short.host) == short
    audio = (3600 - 30) * 16_000 * (2 + 4)
    mel = (3600 - 30) * 100 * 80 * 4
    assert long.host - short.host == audio + mel


@pytest.mark.parametrize(
    ("name", "seconds", "measured"),
    [  # MB at most a slot, 4 to 64 threads that read segments and make their spectrograms (docs/benchmarks/cpu.md)
        ("base", 30, 11.8),
        ("base", 60, 16.0),
        ("base", 300, 46.6),
        ("base", 900, 116.2),
        ("large-v3", 30, 12.8),
        ("large-v3", 300, 54.3),
    ],
)
def test_a_slot_holds_no_more_of_the_hosts_memory_than_is_counted(name: str, seconds: float, measured: float) -> None:
    host = memory_of(MODELS[name], "float16", device="cuda", segment_duration=seconds).host
    assert measured < host / MB < 1.2 * measured


def test_the_parts_add_up() -> None:
    memory = memory_of(MODELS["large-v3"], "float16", device="cuda", segment_duration=300)
    assert memory.weights == (parameters(MODELS["large-v3"]) + 1500 * 1280) * 2
    assert memory.smallest >= memory.total(1)
    assert memory.total(ENCODER_ROWS) == memory.weights + memory.workspace + ENCODER_ROWS * memory.slot
    assert memory.total(64) - memory.total(63) == memory.cross + memory.self_kv + memory.logits
    assert memory.encoder >= ENCODER_ROWS * 10 * 1500 * 1280 * 2


@pytest.mark.parametrize(
    ("name", "form", "one", "eight", "sixty_four"),
    [  # GiB in use on an H200 with 1, 8 and 64 slots, context included (docs/benchmarks/engine.md)
        ("tiny", "cached", 1.114, 1.332, 2.168),
        ("base", "cached", 1.225, 1.614, 3.129),
        ("small", "cached", 1.571, 2.387, 6.522),
        ("medium", "cached", 2.703, 4.432, 14.885),
        ("turbo", "cached", 2.848, 3.729, 6.393),
        ("large-v3", "cached", 4.637, 7.301, 24.532),
        ("tiny", "absorbed", 1.133, 1.289, 1.817),
        ("base", "absorbed", 1.244, 1.506, 2.256),
        ("small", "absorbed", 1.559, 2.0, 3.606),
        ("medium", "absorbed", 2.598, 3.358, 6.619),
        ("turbo", "absorbed", 2.869, 3.532, 5.256),
        ("large-v3", "absorbed", 4.442, 5.51, 10.567),
    ],
)
def test_prediction_agrees_with_a_real_gpu(name: str, form: Form, one: float, eight: float, sixty_four: float) -> None:
    memory = memory_of(MODELS[name], "float16", device="cuda", segment_duration=300, form=form)
    for slots, measured in ((1, one), (8, eight), (64, sixty_four)):
        assert memory.total(slots) / 2**30 == pytest.approx(measured, rel=0.05, abs=64 / 1024)


@pytest.mark.parametrize(
    ("name", "cross"), [("tiny", 1.152), ("base", 1.536), ("medium", 3.072), ("large-v3", 3.84), ("turbo", 3.84)]
)
def test_an_absorbed_slot_keeps_the_encoders_output_alone(name: str, cross: float) -> None:
    cached = memory_of(MODELS[name], "float16", device="cuda", segment_duration=300)
    absorbed = memory_of(MODELS[name], "float16", device="cuda", segment_duration=300, form="absorbed")
    assert absorbed.cross / MB == pytest.approx(cross)
    assert cached.cross == 2 * MODELS[name].n_text_layer * absorbed.cross
    assert replace(absorbed, cross=cached.cross, form="cached") == cached


@pytest.mark.parametrize(
    ("asked", "precision", "capability", "form"),
    [
        ("auto", "float16", (9, 0), "absorbed"),
        ("auto", "float16", (10, 3), "absorbed"),
        ("auto", "float16", (12, 0), "cached"),
        ("auto", "float16", (8, 9), "cached"),
        ("auto", "float16", None, "cached"),
        ("auto", "float32", (9, 0), "cached"),
        ("auto", "bfloat16", (9, 0), "absorbed"),
        ("cached", "float16", (9, 0), "cached"),
        ("absorbed", "float32", None, "absorbed"),
    ],
)
def test_the_form_is_what_is_asked_else_what_the_gpu_is_good_at(
    asked: CrossAttention, precision: Precision, capability: tuple[int, int] | None, form: Form
) -> None:
    assert form_of(asked, ELEMENT_BYTES[precision], capability) == form
    assert forms_of(asked, capability)[precision] == form
