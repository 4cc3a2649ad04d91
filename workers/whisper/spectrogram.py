"""Whisper's log-mel spectrogram, computed in blocks of frames.

Whisper computes all frames of a segment at once. For 300 s that takes 150 to 400 MB per thread, which exceeds every
cache, and which the kernel maps, clears and unmaps tensor by tensor while other threads of the process wait. A block
fits into the cache of a core and into memory that its thread already has.
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

#: Frames per block. 384 was the fastest of 96 to 3,072, because such a block fits into the cache of a core. It is a
#: multiple of the tile width of every matrix product: MKL's oldest code rounds differently in a partial tile, and a
#: block must not have one where all frames at once have none.
_BLOCK_FRAMES = 384
#: At most one thread per core. More threads would evict each other's caches and wait for the interpreter lock after
#: every operation, and of several segments that start together, none would reach the engine before all are done.
_CORES = threading.BoundedSemaphore(len(os.sched_getaffinity(0)))
#: Samples on either side of its centre that a frame covers.
_REACH = N_FFT // 2


def log_mel_spectrogram(audio: Any, n_mels: int, padding: int) -> Tensor:
    """Return the spectrogram, float32 [n_mels, frames] with a frame per 10 ms.

    The result is bit for bit that of `log_mel_spectrogram` in whisper/audio.py. Blocks are used if `audio` is an array
    or a CPU tensor of float32 samples [n] at 16 kHz, and `padding` is at least the N_SAMPLES zeros that
    `whisper.transcribe()` appends. Any other arguments are passed on to whisper's function.
    """
    samples = torch.from_numpy(audio) if isinstance(audio, np.ndarray) else audio
    if not _is_supported(samples, padding):
        unblocked: Tensor = whisper.audio.log_mel_spectrogram(audio, n_mels, padding)
        return unblocked
    with _CORES:
        mel = _mel_spectrogram(samples, n_mels, padding).clamp_(min=1e-10).log10_()
        torch.maximum(mel, mel.max() - 8.0, out=mel)
        return mel.add_(4.0).div_(4.0)


def _is_supported(samples: Any, padding: int) -> bool:
    """Return whether the spectrogram can be computed in blocks."""
    if not isinstance(samples, Tensor) or padding < N_SAMPLES:
        return False
    return samples.dtype == torch.float32 and samples.ndim == 1 and samples.device.type == "cpu"


def _mel_spectrogram(samples: Tensor, n_mels: int, padding: int) -> Tensor:
    """Return the energy per mel band, [n_mels, frames]; it is 0 for frames that cover only padding."""
    frames = (len(samples) + padding) // HOP_LENGTH
    covered = -(-(len(samples) + _REACH) // HOP_LENGTH)  # frames that cover at least one sample
    window, filters = torch.hann_window(N_FFT), mel_filters(samples.device, n_mels)
    mel = torch.zeros(n_mels, frames)
    for first in range(0, covered, _BLOCK_FRAMES):
        end = min(first + _BLOCK_FRAMES, frames)
        block = _samples_between(samples, first * HOP_LENGTH - _REACH, (end - 1) * HOP_LENGTH + _REACH)
        spectrum = torch.stft(block, N_FFT, HOP_LENGTH, window=window, center=False, return_complex=True)
        torch.mm(filters, _magnitudes(spectrum).square_(), out=mel[:, first:end])
    return mel


def _magnitudes(spectrum: Tensor) -> Tensor:
    """Return `spectrum.abs()` of [N_FFT // 2 + 1, frames], in the memory layout of `torch.stft`.

    `abs` of a complex tensor computes the same `hypot`, but computes each one twice in a vector register.
    """
    real, imaginary = torch.view_as_real(spectrum.T).movedim(-1, 0).contiguous()
    return torch.hypot(real, imaginary).T


def _samples_between(samples: Tensor, start: int, end: int) -> Tensor:
    """Return samples [start, end), mirrored before 0 as in `torch.stft(center=True)` and 0 after the last sample."""
    block = samples[max(start, 0) : end]
    missing = end - max(start, 0) - len(block)
    if missing > 0:
        block = functional.pad(block, (0, missing))
    return functional.pad(block[None], (-start, 0), mode="reflect")[0] if start < 0 else block
