"""Run openai-whisper's own command line on checkpoints that are named by their path, with an ffmpeg on PATH.

python -m benchmarks.end_to_end.scripts.stock_cli talk.mp3 --model /models/base.pt
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from whisper.transcribe import cli

from whisper_fleet.shared import binaries


def main() -> None:
    """Give whisper an ffmpeg of that name, and run its command line."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "ffmpeg").symlink_to(binaries.ffmpeg())
        os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
        cli()


if __name__ == "__main__":
    main()
