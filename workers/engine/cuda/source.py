"""CUDA C++ kernels, compiled at run time by NVRTC, which is part of every CUDA build of torch."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

Argument = Tensor | ctypes.c_int | ctypes.c_uint64 | ctypes.c_float | ctypes.Array[ctypes.c_ubyte]

_MOST_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES


def compile_source(
    source: str,
    constants: Mapping[str, int | str],
    device: torch.device,
    *,
    for_this_architecture_only: bool = False,
) -> bytes:
    """Compile source for a device, with the constants as macros, and return its machine code (CUBIN).

    `for_this_architecture_only` admits instructions that no later architecture has, such as Hopper's wgmma. Raises
    RuntimeError, with the output of the compiler, if the source does not compile.
    """
    nvrtc = _nvrtc()
    major, minor = torch.cuda.get_device_capability(device)
    suffix = "a" if for_this_architecture_only else ""
    options = [f"--gpu-architecture=sm_{major}{minor}{suffix}", "--std=c++17"]
    options += [f"--define-macro={name}={value}" for name, value in constants.items()]
    encoded = [option.encode() for option in options]
    program = ctypes.c_void_p()
    text = source.encode()
    _check("nvrtcCreateProgram", nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, b"source.cu", 0, None, None))
    try:
        status = nvrtc.nvrtcCompileProgram(program, len(encoded), (ctypes.c_char_p * len(encoded))(*encoded))
        if status:
            raise RuntimeError(f"a CUDA kernel does not compile: {_output(nvrtc, 'ProgramLog', program).decode()}")
        return _output(nvrtc, "CUBIN", program)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


class Kernel:
    """A function of compiled code. It is launched on torch's current stream, so a CUDA graph can capture it."""

    def __init__(self, code: bytes, name: str, *, threads: int, shared: int = 0) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._threads, self._shared = threads, shared
        module, self._function = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuModuleLoadData", ctypes.byref(module), code)
        self._call("cuModuleGetFunction", ctypes.byref(self._function), module, name.encode())
        self._call("cuFuncSetAttribute", self._function, _MOST_SHARED, shared)

    def launch(self, grid: tuple[int, int], *arguments: Argument) -> None:
        """Launch one thread block per position of the grid (x, y); raises RuntimeError if the driver refuses."""
        values = [ctypes.c_void_p(arg.data_ptr()) if isinstance(arg, Tensor) else arg for arg in arguments]
        pointers = [ctypes.cast(ctypes.byref(value), ctypes.c_void_p) for value in values]
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        self._call(
            "cuLaunchKernel", self._function, *grid, 1, self._threads, 1, 1, self._shared, stream,
            (ctypes.c_void_p * len(pointers))(*pointers), None,
        )  # fmt: skip

    def _call(self, name: str, *arguments: object) -> None:
        _check(name, getattr(self._driver, name)(*arguments))


def _nvrtc() -> ctypes.CDLL:
    """Load NVRTC of torch's CUDA version: from torch, from NVIDIA's packages, or from the system's library path."""
    version = (torch.version.cuda or "").split(".")[0]
    name = f"libnvrtc.so.{version}"
    packages = Path(torch.__file__).parents[1]
    candidates = [*packages.glob(f"torch/lib/{name}"), *packages.glob(f"nvidia/*/lib/{name}")]
    return ctypes.CDLL(str(candidates[0]) if candidates else name)


def _output(nvrtc: ctypes.CDLL, what: str, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _check(what, nvrtc[f"nvrtcGet{what}Size"](program, ctypes.byref(size)))
    content = ctypes.create_string_buffer(size.value)
    _check(what, nvrtc[f"nvrtcGet{what}"](program, content))
    return content.raw


def _check(name: str, status: int) -> None:
    if status:
        raise RuntimeError(f"{name} failed with CUDA status {status}")
