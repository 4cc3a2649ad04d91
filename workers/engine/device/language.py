"""Language detection: the chance of every language, from one start-of-transcript token per window."""

from __future__ import annotations

import torch

from whisper_fleet.workers.engine.device.device_model import DeviceModel
from whisper_fleet.workers.engine.device.device_path import DevicePath
from whisper_fleet.workers.link.protocol import Language


def detect_languages(path: DevicePath, model: DeviceModel, slots: list[int]) -> list[Language]:
    """Return the languages of encoded windows, as whisper.detect_language does. Waits for the device."""
    tokenizer = model.tokenizer
    hidden = torch.cat([path.read([[tokenizer.sot]], [slot], None)[:1] for slot in slots])
    logits = path.network.logits(hidden).float()
    forbidden = torch.ones(logits.shape[-1], dtype=torch.bool)
    forbidden[list(tokenizer.all_language_tokens)] = False
    logits[:, forbidden.to(model.device)] = float("-inf")
    tokens, chances = logits.argmax(-1).tolist(), logits.softmax(-1).cpu()
    codes = list(zip(tokenizer.all_language_codes, tokenizer.all_language_tokens, strict=True))
    return [
        Language(token=token, probs={code: float(row[number]) for code, number in codes})
        for token, row in zip(tokens, chances, strict=True)
    ]
