"""How equal the engine is to stock `whisper.decode` in fp16 on this GPU, window by window, with a real model.

Windows are the shipped clips in random order, gain and spacing. Stock decodes them one by one, the engine in one batch.

    python -m benchmarks.gpu.engine_exact --checkpoint base.pt --windows 96 --slots 64 --out exact.json
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
import whisper
from whisper.decoding import DecodingOptions
from whisper.normalizers import EnglishTextNormalizer

from benchmarks.gpu import engine_setup as setup
from workers.engine.checkpoint import open_checkpoint

SPEECH = Path(__file__).parents[2] / "tests" / "data" / "speech"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=96)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    windows = make_windows(arguments.windows)
    stock = whisper.load_model(str(arguments.checkpoint), device="cuda")
    options = DecodingOptions(language="en", temperature=0.0)
    plain = [whisper.decode(stock, mel.cuda(), options) for mel, _ in windows]
    control = in_batches(stock, [mel for mel, _ in windows], options, arguments.slots)
    loaded = setup.load(open_checkpoint(str(arguments.checkpoint), Path()), arguments.slots)
    asked = [setup.request(loaded, mel.half()) for mel, _ in windows]
    seconds = setup.run(loaded, asked)
    ours = [one.future.result()[0] for one in asked]
    report = compare(stock, windows, plain, ours)
    report["stock_in_batches_against_itself"] = compare(stock, windows, plain, control)
    report["times_realtime"] = round(30 * len(windows) / seconds)
    print(json.dumps(report, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1))


def make_windows(count: int) -> list[tuple[torch.Tensor, str]]:
    """Mel and reference text of each window."""
    lines = (SPEECH / "transcripts.tsv").read_text().splitlines()
    clips = [(setup.clip(SPEECH / name), text) for name, text in (line.split("\t") for line in lines)]
    chance = random.Random(0)
    noise = np.random.default_rng(0)
    made = []
    for _ in range(count):
        order = chance.sample(clips, len(clips))
        pieces = [np.concatenate([samples, np.zeros(chance.randrange(16000))]) for samples, _ in order]
        audio = np.concatenate(pieces)[: 30 * 16000] * chance.uniform(0.3, 1.2)
        audio = (audio + noise.normal(0, chance.choice([0, 0.001, 0.01]), len(audio))).astype(np.float32)
        mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(audio))
        made.append((mel, " ".join(text for _, text in order)))
    return made


def in_batches(stock: Any, mels: list[torch.Tensor], options: DecodingOptions, size: int) -> list[Any]:
    """Stock's own decode with more than one window at a time: how much that alone changes."""
    results = []
    for start in range(0, len(mels), size):
        results += whisper.decode(stock, torch.stack(mels[start : start + size]).cuda(), options)
    return results


def compare(stock: Any, windows: list[Any], plain: list[Any], ours: list[Any]) -> dict[str, Any]:
    """Shares of equal windows, stock's preference at each first divergence, and both word error rates."""
    margins = []
    for (mel, _), one, other in zip(windows, plain, ours, strict=True):
        if one.tokens != other.tokens:
            margins.append(margin(stock, mel, one.tokens, other.tokens))
    normal = EnglishTextNormalizer()
    rates = []
    for results in (plain, ours):
        errors = words = 0
        for (_, text), result in zip(windows, results, strict=True):
            reference = normal(text).split()
            errors += distance(reference, normal(result.text).split())
            words += len(reference)
        rates.append(100 * errors / words)
    return {
        "windows": len(windows),
        "tokens_equal_percent": 100 * sum(a.tokens == b.tokens for a, b in zip(plain, ours, strict=True)) / len(plain),
        "text_equal_percent": 100 * sum(a.text == b.text for a, b in zip(plain, ours, strict=True)) / len(plain),
        "margins_at_first_divergence": margins,
        "wer_stock_percent": rates[0],
        "wer_engine_percent": rates[1],
        "tokens": sum(len(one.tokens) for one in plain),
    }


@torch.no_grad()
def margin(stock: Any, mel: torch.Tensor, plain: list[int], ours: list[int]) -> float:
    """Stock's logit of its own token above ours, where the two first differ."""
    end = 50257
    one, other = [*plain, end], [*ours, end]
    at = next(index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    tokens = torch.tensor([[50258, 50259, 50359, *one[:at]]], device="cuda")
    logits = stock.decoder(tokens, stock.encoder(mel.cuda().half()[None]))[0, -1]
    if (one[at] >= 50364) != (other[at] >= 50364):  # text or timestamp: decided by the timestamps' sum
        times, text = logits[50364:].logsumexp(-1), logits[:50364].max()
        return float((times - text).abs())
    return float(logits[one[at]] - logits[other[at]])


def distance(one: list[str], other: list[str]) -> int:
    """Word edits from one text to the other."""
    row = list(range(len(other) + 1))
    for at, word in enumerate(one, 1):
        previous, row[0] = row[0], at
        for index, candidate in enumerate(other, 1):
            change = previous + (word != candidate)
            previous, row[index] = row[index], min(change, row[index] + 1, row[index - 1] + 1)
    return row[-1]


if __name__ == "__main__":
    main()
