"""Whisper Fleet transcribes audio with OpenAI Whisper on many GPUs and many machines.

This is the public interface. Submit a file, follow it, and read its transcript:

    from whisper_fleet import FleetClient

    with FleetClient(redis_url="redis://127.0.0.1:6379/0") as fleet:
        job = fleet.submit(file_path="/data/talk.mp3", model_name="large-v3", formats=["srt"])
        for progress in fleet.watch(job):
            print(progress.stage, progress.seconds_done, progress.seconds_total)
        print(fleet.result(job).text)

`AsyncFleetClient` has the same methods for asyncio, and `HttpFleetClient` needs only the fleet's HTTP server.
`whisper_fleet.errors` holds every error that they raise.
Importing this package is cheap: it loads neither torch nor whisper, and each name only when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whisper_fleet.aio import AsyncFleetClient as AsyncFleetClient
    from whisper_fleet.client import FleetClient as FleetClient
    from whisper_fleet.http_client.client import HttpFleetClient as HttpFleetClient
    from whisper_fleet.outcome import JobResult as JobResult
    from whisper_fleet.outcome import Outcome as Outcome
    from whisper_fleet.shared.errors import FleetError as FleetError
    from whisper_fleet.shared.settings import Settings as Settings
    from whisper_fleet.shared.transcript import Segment as Segment
    from whisper_fleet.shared.transcript import Transcript as Transcript
    from whisper_fleet.shared.transcript import Word as Word
    from whisper_fleet.shared.wire import GpuStatus as GpuStatus
    from whisper_fleet.shared.wire import JobProgress as JobProgress
    from whisper_fleet.shared.wire import JobState as JobState

    __version__: str

#: Where each public name is defined.
_EXPORTS = {
    "AsyncFleetClient": "whisper_fleet.aio",
    "FleetClient": "whisper_fleet.client",
    "FleetError": "whisper_fleet.shared.errors",
    "GpuStatus": "whisper_fleet.shared.wire",
    "HttpFleetClient": "whisper_fleet.http_client.client",
    "JobProgress": "whisper_fleet.shared.wire",
    "JobResult": "whisper_fleet.outcome",
    "JobState": "whisper_fleet.shared.wire",
    "Outcome": "whisper_fleet.outcome",
    "Segment": "whisper_fleet.shared.transcript",
    "Settings": "whisper_fleet.shared.settings",
    "Transcript": "whisper_fleet.shared.transcript",
    "Word": "whisper_fleet.shared.transcript",
}

__all__ = [
    "AsyncFleetClient",
    "FleetClient",
    "FleetError",
    "GpuStatus",
    "HttpFleetClient",
    "JobProgress",
    "JobResult",
    "JobState",
    "Outcome",
    "Segment",
    "Settings",
    "Transcript",
    "Word",
    "__version__",
]


if not TYPE_CHECKING:  # a type checker reads the imports above, and reports names that do not exist

    def __getattr__(name: str) -> object:
        """Load a public name when it is first used, so that `import whisper_fleet` costs nothing."""
        if name == "__version__":
            value: object = _version()
        elif name in _EXPORTS:
            value = getattr(import_module(_EXPORTS[name]), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # costs as much as the rest of the import

    try:
        return version("whisper-fleet")
    except PackageNotFoundError:  # a checkout that was not installed
        return "0+unknown"
