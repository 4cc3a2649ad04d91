"""A neighbour on the GPU: a process that allocates and frees memory on command.

`python -m benchmarks.gpu.fleet.tenant` reads `take BYTES` and `free` from its standard input and answers each with
the bytes that it holds and the bytes that are free on the GPU.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

REPOSITORY = Path(__file__).parents[3]


class Tenant(Protocol):
    """Memory that another process holds on one GPU."""

    held: int
    free: int  # on the GPU, after the last answer

    def take(self, size: int) -> None: ...

    def release(self) -> None: ...

    def close(self) -> None: ...


class ProcessTenant:
    """A child process with a CUDA context of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gpu.fleet.tenant"],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.held, self.free = self._answer()

    def take(self, size: int) -> None:
        """Allocate this many more bytes; nothing if the GPU has no room."""
        self._ask(f"take {size}")

    def release(self) -> None:
        """Free everything except the CUDA context."""
        self._ask("free")

    def close(self) -> None:
        """End the process."""
        with suppress(OSError):
            _pipe(self._child.stdin).close()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _ask(self, order: str) -> None:
        orders = _pipe(self._child.stdin)
        orders.write(f"{order}\n")
        orders.flush()
        self.held, self.free = self._answer()

    def _answer(self) -> tuple[int, int]:
        held, free = _pipe(self._child.stdout).readline().split()
        return int(held), int(free)


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise RuntimeError("the tenant was started without pipes")
    return pipe


def serve() -> None:
    """Execute the commands on standard input until it ends."""
    import torch  # only here: the parent must not have a context on the GPU

    blocks = [torch.empty(1, device="cuda")]
    _tell(torch.cuda.mem_get_info()[0], 0)
    for line in sys.stdin:
        match line.split():
            case ["take", size]:
                with suppress(torch.OutOfMemoryError):
                    blocks.append(torch.empty(int(size), dtype=torch.uint8, device="cuda"))
            case ["free"]:
                del blocks[1:]
                torch.cuda.empty_cache()
        _tell(torch.cuda.mem_get_info()[0], sum(block.nbytes for block in blocks[1:]))


def _tell(free: int, held: int) -> None:
    sys.stdout.write(f"{held} {free}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve()
