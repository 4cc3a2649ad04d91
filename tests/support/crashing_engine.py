"""An engine that loses its device at the third decode step, once; the file of the first argument records it."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from whisper_fleet.workers.engine import __main__
from whisper_fleet.workers.engine.batch.window import Window
from whisper_fleet.workers.engine.runner import Runner


def main() -> int:
    lost, arguments = Path(sys.argv[1]), sys.argv[2:]
    decode, steps = Runner.decode, []

    def decode_and_break(runner: Runner) -> list[Window]:
        steps.append(1)
        if len(steps) == 3 and not lost.exists():
            lost.write_text("the device was lost")
            lose(runner.model.device)
        return decode(runner)

    Runner.decode = decode_and_break  # type: ignore[assignment, method-assign]  # that is the fault
    return __main__.main(arguments)


def lose(device: torch.device) -> None:
    """Lose the device: an index out of bounds kills a CUDA context; on a CPU, raise what CUDA would."""
    if device.type == "cpu":
        raise RuntimeError("CUDA error: device-side assert triggered")
    row = torch.zeros(4, device=device)[torch.tensor([1 << 20], device=device)]
    torch.cuda.synchronize(device)
    raise AssertionError(f"the device was expected to be lost: {row}")


if __name__ == "__main__":
    sys.exit(main())
