"""Compares the engine with stock `whisper.decode` in fp16 on this GPU, window by window, with a real model.

Stock decodes all windows one by one, then in batches against itself (the control: what float16 alone changes), and
the engine decodes them with many at once. Between them stands stock with one part in batches, encoder or decoder, and
the other window by window: which of the two changes how much. `--speech` names folders of `speech` or `recordings`,
each with its language; without it the shipped clips are mixed.

    python -m benchmarks.gpu.engine.exact --checkpoint base.pt --speech speech:en parole:fr --out exact.json
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import whisper
from torch import Tensor

from benchmarks.gpu.engine import setup
from benchmarks.gpu.engine.compare import Stock, compare, word_errors
from benchmarks.gpu.engine.speech import RATE, SHIPPED, Samples, read, spoken_windows
from whisper_fleet.shared.models import CrossAttention
from whisper_fleet.workers.engine.model.checkpoint import open_checkpoint


def main() -> None:
    parser = setup.parser_of(__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--speech", nargs="+", metavar="FOLDER[:LANGUAGE]")
    parser.add_argument("--windows", type=int, default=96, help="at most, of each folder")
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--control", type=int, nargs="*", default=[4, 16, 64], help="batches of stock against itself")
    parser.add_argument("--by-part", type=int, nargs="*", default=[64], help="batches of one part of stock alone")
    parser.add_argument("--cross-attention", nargs="+", choices=setup.FORMS, default=["cached", "absorbed"])
    arguments = parser.parse_args()
    heard = heard_windows(arguments.speech or [], arguments.windows)
    stock_model = whisper.load_model(str(arguments.checkpoint), device=arguments.device)
    dtype = setup.dtype_of(arguments.device)
    mels = [mel_of(one.samples, stock_model.dims.n_mels).to(arguments.device, dtype) for one in heard]
    report = measure(stock_model, mels, heard, arguments)
    report["minutes"] = round(sum(len(one.samples) for one in heard) / RATE / 60, 1)
    show(report)
    setup.write(arguments.out, arguments.device, report)


@dataclass(frozen=True)
class Heard:
    """A window and the text that is spoken in it."""

    samples: Samples
    text: str
    language: str


def heard_windows(folders: list[str], most: int) -> list[Heard]:
    """Return at most this many windows of each folder; without folders, of the shipped clips."""
    if not folders:
        return [Heard(samples, text, "en") for samples, text in mixed(most)]
    parts = [(Path(name), language or "en") for name, _, language in (one.partition(":") for one in folders)]
    return [Heard(*spoken, language) for folder, language in parts for spoken in spoken_windows(folder, most)]


def measure(model: Any, mels: list[Tensor], heard: list[Heard], arguments: argparse.Namespace) -> dict[str, Any]:
    """Decode the same windows with stock whisper, one by one and in batches, and with the engine in each form."""
    texts, languages = [one.text for one in heard], [one.language for one in heard]
    stock = Stock(model, languages, fp16=arguments.device == "cuda")
    stock.features(mels[:1], 1)  # loads libraries
    plain, seconds = timed(arguments.device, lambda: stock.alone(mels))
    rows: list[dict[str, Any]] = []

    def add(what: str, results: list[Any], seconds: float) -> None:
        alike = {} if results is plain else compare(stock, plain, results)
        errors = word_errors(texts, languages, results)
        rows.append({"what": what, "seconds": seconds, **alike, "wer_percent": errors})
        print(rows[-1], flush=True)

    def add_timed(what: str, work: Callable[[], list[Any]]) -> None:
        add(what, *timed(arguments.device, work))

    add("stock, one by one", plain, seconds)
    for size in arguments.control:
        add_timed(f"stock in batches of {size}", partial(stock.together, mels, size))
    one_by_one = stock.features(mels, 1) if arguments.by_part else []
    for size in arguments.by_part:
        encoded = stock.features(mels, size)
        add_timed(f"stock, its encoder alone in batches of {size}", partial(stock.together, encoded, 1))
        add_timed(f"stock, its decoder alone in batches of {size}", partial(stock.together, one_by_one, size))
    for form in arguments.cross_attention:
        what = f"engine, {form}, {arguments.slots} slots"
        add_timed(what, partial(engine, mels, languages, arguments, form))
    tokens = sum(len(one.tokens) for one in plain)
    return {"windows": len(mels), "tokens": tokens, "rows": rows}


def engine(mels: list[Tensor], languages: list[str], arguments: argparse.Namespace, form: CrossAttention) -> list[Any]:
    """Return what the engine decodes the windows to, with as many at once as it has slots."""
    checkpoint = open_checkpoint(str(arguments.checkpoint.absolute()), arguments.checkpoint.absolute().parent)
    loaded = setup.load(checkpoint, arguments.slots, device=arguments.device, form=form)
    asked = [setup.request(loaded, mel.cpu(), language=language) for mel, language in zip(mels, languages, strict=True)]
    setup.run(loaded, asked)
    results = [one.future.result()[0] for one in asked]
    setup.unload(loaded)
    return results


def timed(device: str, work: Callable[[], list[Any]]) -> tuple[list[Any], float]:
    setup.wait(device)
    started = time.perf_counter()
    results = work()
    setup.wait(device)
    return results, round(time.perf_counter() - started, 2)


def mel_of(samples: Samples, n_mels: int) -> Tensor:
    """Return the spectrogram of one window, computed on the CPU as `transcribe` does for a proxy."""
    mel: Tensor = whisper.log_mel_spectrogram(whisper.pad_or_trim(samples), n_mels)
    return mel


def mixed(count: int) -> list[tuple[Samples, str]]:
    """Return the shipped clips in random order, gain and spacing, some with noise."""
    lines = (SHIPPED / "transcripts.tsv").read_text().splitlines()
    clips = [(read(SHIPPED / name), text) for name, text in (line.split("\t") for line in lines)]
    chance, noise = random.Random(0), np.random.default_rng(0)
    made: list[tuple[Samples, str]] = []
    for _ in range(count):
        order = chance.sample(clips, len(clips))
        pieces = [np.concatenate([samples, np.zeros(chance.randrange(RATE), np.float32)]) for samples, _ in order]
        audio = np.concatenate(pieces)[: 30 * RATE] * chance.uniform(0.3, 1.2)
        noisy = (audio + noise.normal(0, chance.choice([0, 0.001, 0.01]), len(audio))).astype(np.float32)
        made.append((noisy, " ".join(text for _, text in order)))
    return made


def show(report: dict[str, Any]) -> None:
    print(f"{report['windows']} windows, {report['minutes']} minutes, {report['tokens']} tokens of stock one by one")
    head = ("against stock one by one", "tokens %", "text %", "parted", "largest margin", ">= 0.05", "WER %", "s")
    lines: list[tuple[object, ...]] = []
    for row in report["rows"]:
        margins = row.get("margins_at_first_divergence")
        parted, largest = (None, None) if margins is None else (len(margins), max(margins, default=0.0))
        equal = row.get("tokens_equal_percent"), row.get("text_equal_percent")
        lines.append((row["what"], *equal, parted, largest, row.get("no_ties"), row["wer_percent"], row["seconds"]))
    setup.table(head, lines)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
