"""Whisper's log-mel spectrogram, a piece at a time.

Whisper computes a segment at once. For 300 s that takes 150 to 400 MB a thread, which no cache holds, and which the
kernel maps, clears and unmaps tensor by tensor while the process's other threads wait for it. A piece stays in a core's
cache and in memory that its thread already has.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
import torch
import whisper.audio
from torch import Tensor
from torch.nn import functional
from whisper.audio import HOP_LENGTH, N_FFT, N_SAMPLES, mel_filters

#: Frames of a piece: fast while they stay in a core's cache (measured with 96 to 3,072: 384 is the fastest). Whole
#: tiles of any matrix product, so that no column lies at an edge which is none when whisper computes all frames at
#: once: MKL's oldest code rounds differently there.
_PIECE_FRAMES = 384
#: As many threads at once as there are cores: more would take each other's caches and wait for the interpreter's lock
#: after every operation, and of segments that begin together none would get to the engine before all do.
_AT_ONCE = threading.BoundedSemaphore(len(os.sched_getaffinity(0)))
#: Samples that a frame hears on either side of its centre.
_REACH = N_FFT // 2


def log_mel_spectrogram(audio: Any, n_mels: int, padding: int) -> Tensor:
    """`whisper.audio.log_mel_spectrogram` to the last bit: float32 [n_mels, frames], a frame every 10 ms.

    `audio` is an array or a tensor on the CPU, float32 [samples] at 16 kHz, and `padding` at least the N_SAMPLES zeros
    that `whisper.transcribe()` appends; whisper's own function answers for everything else that it takes.
    """
    samples = torch.from_numpy(audio) if isinstance(audio, np.ndarray) else audio
    if not _is_ours(samples, padding):
        own: Tensor = whisper.audio.log_mel_spectrogram(audio, n_mels, padding)
        return own
    with _AT_ONCE:
        mel = _mel_spectrogram(samples, n_mels, padding).clamp_(min=1e-10).log10_()
        torch.maximum(mel, mel.max() - 8.0, out=mel)
        return mel.add_(4.0).div_(4.0)


def _is_ours(samples: Any, padding: int) -> bool:
    if not isinstance(samples, Tensor) or padding < N_SAMPLES:
        return False
    return samples.dtype == torch.float32 and samples.ndim == 1 and samples.device.type == "cpu"


def _mel_spectrogram(samples: Tensor, n_mels: int, padding: int) -> Tensor:
    """The energy in every mel band [n_mels, frames]; it is zero where a frame hears the padding alone."""
    frames = (len(samples) + padding) // HOP_LENGTH
    heard = -(-(len(samples) + _REACH) // HOP_LENGTH)
    window, filters = torch.hann_window(N_FFT), mel_filters(samples.device, n_mels)
    mel = torch.zeros(n_mels, frames)
    for first in range(0, heard, _PIECE_FRAMES):
        end = min(first + _PIECE_FRAMES, frames)
        piece = _between(samples, first * HOP_LENGTH - _REACH, (end - 1) * HOP_LENGTH + _REACH)
        spectrum = torch.stft(piece, N_FFT, HOP_LENGTH, window=window, center=False, return_complex=True)
        torch.mm(filters, _magnitudes(spectrum).square_(), out=mel[:, first:end])
    return mel


def _magnitudes(spectrum: Tensor) -> Tensor:
    """`spectrum.abs()`, [N_FFT // 2 + 1, frames] as `torch.stft` lays it out.

    Of complex numbers torch computes that with the same `hypot`, but each one twice, beside itself.
    """
    real, imaginary = torch.view_as_real(spectrum.T).movedim(-1, 0).contiguous()
    return torch.hypot(real, imaginary).T


def _between(samples: Tensor, start: int, end: int) -> Tensor:
    """The samples [start, end): mirrored before the beginning as `torch.stft(center=True)` does, zero after the end."""
    piece = samples[max(start, 0) : end]
    missing = end - max(start, 0) - len(piece)
    if missing > 0:
        piece = functional.pad(piece, (0, missing))
    return functional.pad(piece[None], (-start, 0), mode="reflect")[0] if start < 0 else piece
