"""Whisper's log-mel spectrogram, computed in blocks of frames, in one call that does not hold the interpreter lock.

Whisper computes all frames of a segment at once. For 300 s that takes 150 to 400 MB per thread, which exceeds every
cache, and which the kernel maps, clears and unmaps tensor by tensor while other threads of the process wait. A block
fits into the cache of a core and into memory that its thread already has.

The blocks of 300 s are a thousand small operations. Called from Python, each of them takes the interpreter lock again,
beside the threads of all other slots. TorchScript runs the same operations as one call that takes it once.
"""

from __future__ import annotations

import os
import threading
import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import whisper.audio
from torch import Tensor
from whisper.audio import HOP_LENGTH, N_FFT, N_SAMPLES, mel_filters

#: Frames per block. 384 was the fastest of 96 to 3,072, because such a block fits into the cache of a core. It is a
#: multiple of the tile width of every matrix product: MKL's oldest code rounds differently in a partial tile, and a
#: block must not have one where all frames at once have none.
_BLOCK_FRAMES = 384
#: At most one thread per core. More threads would evict each other's caches, and of several segments that start
#: together, none would reach the engine before all are done.
_cores = threading.BoundedSemaphore(len(os.sched_getaffinity(0)))
_compiling = threading.Lock()
#: Samples on either side of its centre that a frame covers.
_REACH = N_FFT // 2


def limit_cores(cores: int) -> None:
    """Compute on this many cores at once, because other processes compute on the others. Call it before any thread."""
    global _cores
    _cores = threading.BoundedSemaphore(cores)


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
    frames = (len(samples) + padding) // HOP_LENGTH
    covered = -(-(len(samples) + _REACH) // HOP_LENGTH)  # frames that cover at least one sample
    filters, window = mel_filters(samples.device, n_mels), torch.hann_window(N_FFT)
    with _cores:
        mel: Tensor = _compiled()(samples, filters, window, frames, covered, _BLOCK_FRAMES, HOP_LENGTH)
        return mel


def _is_supported(samples: Any, padding: int) -> bool:
    """Return whether the spectrogram can be computed in blocks."""
    if not isinstance(samples, Tensor) or padding < N_SAMPLES:
        return False
    return samples.dtype == torch.float32 and samples.ndim == 1 and samples.device.type == "cpu"


@lru_cache(maxsize=1)
def _compile() -> Any:
    with warnings.catch_warnings():
        # torch suggests torch.compile, which fuses operations and so changes their rounding.
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(_log_mel)


def _compiled() -> Any:
    """Return `_log_mel` as one call; it is compiled once, in the first thread that needs it."""
    with _compiling:
        return _compile()


# TorchScript compiles these functions, so they use no globals but torch and each other.


def _log_mel(
    samples: Tensor, filters: Tensor, window: Tensor, frames: int, covered: int, block_frames: int, hop: int
) -> Tensor:
    """Return the log-mel spectrogram, [n_mels, frames]; frames from `covered` on cover only padding."""
    reach = window.size(0) // 2
    mel = torch.zeros(filters.size(0), frames)
    for first in range(0, covered, block_frames):
        end = min(first + block_frames, frames)
        block = _samples_between(samples, first * hop - reach, (end - 1) * hop + reach)
        spectrum = torch.stft(block, window.size(0), hop, window=window, center=False, return_complex=True)
        torch.mm(filters, _magnitudes(spectrum).square_(), out=mel[:, first:end])
    mel.clamp_(min=1e-10).log10_()
    torch.maximum(mel, mel.max() - 8.0, out=mel)
    return mel.add_(4.0).div_(4.0)


def _magnitudes(spectrum: Tensor) -> Tensor:
    """Return `spectrum.abs()` of [N_FFT // 2 + 1, frames], in the memory layout of `torch.stft`.

    `abs` of a complex tensor computes the same `hypot`, but computes each one twice in a vector register.
    """
    parts = torch.view_as_real(spectrum.t()).movedim(-1, 0).contiguous()
    return torch.hypot(parts[0], parts[1]).t()


def _samples_between(samples: Tensor, start: int, end: int) -> Tensor:
    """Return samples [start, end), mirrored before 0 as in `torch.stft(center=True)` and 0 after the last sample."""
    block = samples[max(start, 0) : end]
    missing = end - max(start, 0) - block.size(0)
    if missing > 0:
        block = torch.nn.functional.pad(block, [0, missing])
    if start < 0:
        block = torch.nn.functional.pad(block[None], [-start, 0], mode="reflect")[0]
    return block
