"""The encoder's self-attention on Hopper: the kernel of self_attention.cu."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from whisper_fleet.workers.engine.cuda.hopper.tensor_map import TYPES, is_hopper, source_of, tensor_map
from whisper_fleet.workers.engine.cuda.source import Kernel, compile_source

WIDTH = 64  # channels per head, as in every Whisper
_KEYS, _STAGES = 128, 4
_TERAFLOPS = {2: 430, 3: 486}  # by warpgroups per thread block, on an H100 where all multiprocessors have tiles


class SelfAttention:
    """Attention of all frames of a window to each other, for one GPU; compiled when it is first used."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._multiprocessors = torch.cuda.get_device_properties(device).multi_processor_count
        self._kernels: dict[tuple[torch.dtype, int], Kernel] = {}

    def is_served(self, dtype: torch.dtype, width: int) -> bool:
        """Return whether the kernel serves heads of this width in this precision."""
        return width == WIDTH and dtype in TYPES and is_hopper(self._device)

    def __call__(self, qkv: Tensor) -> Tensor:
        """Attend with queries to keys and values: [windows, frames, 3 * state] -> [windows, frames, state]."""
        windows, frames, columns = qkv.shape
        heads = columns // 3 // WIDTH
        groups = best_groups(frames, heads * windows, self._multiprocessors)
        tiles = _tiles(frames, heads * windows, groups)
        out = torch.empty((windows, frames, columns // 3), dtype=qkv.dtype, device=qkv.device)
        integer = ctypes.c_int
        self._kernel(qkv.dtype, groups).launch(
            (min(tiles, self._multiprocessors), 1), tensor_map(qkv, (1, 64 * groups, WIDTH)),
            tensor_map(qkv, (1, _KEYS, WIDTH)), out, integer(frames), integer(heads), integer(tiles),
        )  # fmt: skip
        return out

    def _kernel(self, dtype: torch.dtype, groups: int) -> Kernel:
        if (dtype, groups) not in self._kernels:
            constants: dict[str, int | str] = {"STAGES": _STAGES, "GROUPS": groups, "TYPE": TYPES[dtype]}
            source = source_of("self_attention.cu")
            code = compile_source(source, constants, self._device, for_this_architecture_only=True)
            threads, shared = 128 * (groups + 1), _shared_bytes(groups)
            self._kernels[dtype, groups] = Kernel(code, "self_attention", threads=threads, shared=shared)
        return self._kernels[dtype, groups]


def best_groups(frames: int, heads: int, multiprocessors: int) -> int:
    """Return how many warpgroups per thread block take the shortest time for all `heads` of all windows.

    More are faster, fewer leave less of the last wave of tiles idle. The result does not depend on it.
    """

    def cost(groups: int) -> float:
        return -(-_tiles(frames, heads, groups) // multiprocessors) * groups / _TERAFLOPS[groups]

    return min(_TERAFLOPS, key=cost)


def _tiles(frames: int, heads: int, groups: int) -> int:
    return -(-frames // (64 * groups)) * heads


def _shared_bytes(groups: int) -> int:
    """Return the bytes of shared memory per thread block: the size of `Shared` in self_attention.cu."""
    return (2 * groups * 64 + 2 * _STAGES * _KEYS) * WIDTH * 2 + (2 + 4 * _STAGES) * 8
