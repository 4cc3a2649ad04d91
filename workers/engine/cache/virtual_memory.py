"""Memory that can be resized at a fixed address: addresses are reserved once, pages are committed on demand.

So captured graphs and running rows keep their pointers while the number of slots changes.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Protocol

import torch
from torch import Tensor

from whisper_fleet.shared.errors import EngineOutOfMemory

_PAGE_BYTES = 32 << 20
_OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY
_PINNED_ON_DEVICE = 1  # CU_MEM_ALLOCATION_TYPE_PINNED, CU_MEM_LOCATION_TYPE_DEVICE
_READ_WRITE = 3  # CU_MEM_ACCESS_FLAGS_PROT_READWRITE


class VirtualMemory(Protocol):
    """A reserved range of addresses, of which the first `committed` bytes may be used."""

    committed: int  # bytes

    def commit(self, size: int) -> None:
        """Commit memory for the first `size` bytes and free the rest; EngineOutOfMemory changes nothing."""

    def tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a tensor over the reserved addresses; only its committed part may be accessed."""

    def release(self) -> None:
        """Free memory and addresses; no tensor over them may be used afterwards."""


def reserve(size: int, device: torch.device) -> VirtualMemory:
    """Reserve addresses for `size` bytes on a device; nothing is committed yet."""
    return CudaMemory(size, device) if device.type == "cuda" else HostMemory(size)


class HostMemory:
    """Virtual memory of the host: the kernel commits a page when it is first written."""

    def __init__(self, size: int) -> None:
        self.committed = 0
        # MAP_NORESERVE, because the reserved size may exceed the memory of the machine.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
        self._memory = mmap.mmap(-1, _round_up(size, mmap.PAGESIZE), flags=flags)

    def commit(self, size: int) -> None:
        size = _round_up(size, mmap.PAGESIZE)
        if size < self.committed:
            self._memory.madvise(mmap.MADV_DONTNEED, size, self.committed - size)
        self.committed = size

    def tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.frombuffer(self._memory, dtype=dtype, count=torch.Size(shape).numel()).view(shape)

    def release(self) -> None:
        self.commit(0)  # the addresses are freed with the last tensor over them


class _Location(ctypes.Structure):
    """CUmemLocation."""

    _fields_ = (("type", ctypes.c_int), ("id", ctypes.c_int))


class _Allocation(ctypes.Structure):
    """CUmemAllocationProp."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("requested_handle_types", ctypes.c_int),
        ("location", _Location),
        ("win32_meta_data", ctypes.c_void_p),
        ("flags", ctypes.c_ubyte * 8),
    )


class _Access(ctypes.Structure):
    """CUmemAccessDesc."""

    _fields_ = (("location", _Location), ("flags", ctypes.c_int))


class CudaMemory:
    """Virtual memory of a GPU, by the virtual memory management functions of the CUDA driver."""

    def __init__(self, size: int, device: torch.device) -> None:
        torch.cuda.init()
        torch.empty(1, device=device)  # makes the device's context current
        self.committed = 0
        self._device = device
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._location = _Location(_PINNED_ON_DEVICE, device.index or 0)
        self._pages: list[ctypes.c_ulonglong] = []
        self._size = _round_up(size, _PAGE_BYTES)
        self._base = ctypes.c_ulonglong()
        zero = ctypes.c_ulonglong(0)
        length = ctypes.c_size_t(self._size)
        address = ctypes.byref(self._base)
        self._call("cuMemAddressReserve", address, length, ctypes.c_size_t(0), zero, zero)

    def commit(self, size: int) -> None:
        pages = _round_up(size, _PAGE_BYTES) // _PAGE_BYTES
        before = len(self._pages)
        if pages < before:
            torch.cuda.synchronize(self._device)  # no kernel may still read a page that is freed
        try:
            while len(self._pages) < pages:
                self._add_page()
        except EngineOutOfMemory:
            self._drop_pages(before)
            raise
        finally:
            self.committed = len(self._pages) * _PAGE_BYTES
        self._drop_pages(pages)
        self.committed = len(self._pages) * _PAGE_BYTES

    def tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a tensor; the first page must be committed, because torch looks up the device of its address."""
        size = torch.Size(shape).numel() * dtype.itemsize
        self.__cuda_array_interface__ = {
            "shape": (size // 2,),
            "typestr": "<i2",
            "data": (self._base.value, False),
            "version": 3,
        }
        return torch.as_tensor(self, device=self._device).view(dtype).view(shape)

    def release(self) -> None:
        torch.cuda.synchronize(self._device)
        self._drop_pages(0)
        self.committed = 0
        self._call("cuMemAddressFree", self._base, ctypes.c_size_t(self._size))

    def _add_page(self) -> None:
        page = ctypes.c_ulonglong()
        length = ctypes.c_size_t(_PAGE_BYTES)
        kind = _Allocation(type=_PINNED_ON_DEVICE, location=self._location)
        zero = ctypes.c_ulonglong(0)
        self._call("cuMemCreate", ctypes.byref(page), length, ctypes.byref(kind), zero)
        address = ctypes.c_ulonglong(self._base.value + len(self._pages) * _PAGE_BYTES)
        self._call("cuMemMap", address, length, ctypes.c_size_t(0), page, zero)
        access = _Access(self._location, _READ_WRITE)
        self._pages.append(page)
        self._call("cuMemSetAccess", address, length, ctypes.byref(access), ctypes.c_size_t(1))

    def _drop_pages(self, keep: int) -> None:
        while len(self._pages) > keep:
            page = self._pages.pop()
            address = ctypes.c_ulonglong(self._base.value + len(self._pages) * _PAGE_BYTES)
            self._call("cuMemUnmap", address, ctypes.c_size_t(_PAGE_BYTES))
            self._call("cuMemRelease", page)

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._driver, name)(*arguments)
        if status == _OUT_OF_MEMORY:
            raise EngineOutOfMemory(what="more slots")
        if status:
            raise RuntimeError(f"{name} failed with CUDA driver error {status}")


def _round_up(size: int, unit: int) -> int:
    return -(-max(size, 1) // unit) * unit
