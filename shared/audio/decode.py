"""Decodes any audio or video file to 16 kHz mono PCM in a hardened ffmpeg process: limited, offline, killable."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO

from whisper_fleet.shared import binaries
from whisper_fleet.shared.errors import CorruptAudio, NoAudioStream, RequestError
from whisper_fleet.shared.files.opening import path_of
from whisper_fleet.shared.settings import Settings

#: s16le, mono, SAMPLE_RATE, in chunks of any length; closing it ends its ffmpeg.
PcmStream = Generator[bytes, None, None]

SAMPLE_RATE = 16_000
BYTES_PER_SAMPLE = 2

#: ffmpeg's names of containers that hold their own media. No playlists: they make ffmpeg read other files.
CONTAINERS = "wav,w64,mp3,flac,ogg,aac,mov,matroska,mpegts,mpeg,asf,aiff,au,avi,flv,amr,caf,ac3,eac3,wv,tta,ape,gsm,voc"

_STALL_SECONDS = 60.0  # without output; longer means that ffmpeg hangs
_CPU_SECONDS = 3600  # enough for about 1,500 hours of mp3
_MEMORY_KIB = 4 * 2**20  # of address space; ffmpeg's threads reserve far more than they use
_CHUNK_BYTES = 256 * 1024
_COMPLAINT_BYTES = 4096
# The shell sets the limits: they hold from ffmpeg's first instruction, and preexec_fn could deadlock with threads.
_LIMITED = f'ulimit -t {_CPU_SECONDS}; ulimit -v {_MEMORY_KIB}; ulimit -f 0; ulimit -c 0; exec "$@"'


def stream_pcm(path: Path, settings: Settings, *, called: str | None = None) -> PcmStream:
    """Yield the samples of `whisper.load_audio` as s16le 16 kHz mono, in chunks as they are decoded.

    Damage that ffmpeg skips (a torn tail, a bad frame) is skipped, as in whisper. Raises NoAudioStream or CorruptAudio
    if nothing could be decoded or ffmpeg failed; they name the file as its client `called` it.
    """
    name = called or str(path)
    ffmpeg = binaries.ffmpeg(settings.ffmpeg)
    with contextlib.ExitStack() as stack:
        descriptor = stack.enter_context(_opened(path))
        child = _start(_command(stack.enter_context(path_of(descriptor, path.suffix)), ffmpeg), descriptor)
        complaints = _Complaints(child)
        stack.callback(complaints.close)
        stack.callback(_end, child)
        yield from _chunks(child, name, settings.decode_timeout)
        code = child.wait()
        if code != 0:
            raise _error(name, code, complaints.text())


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open the file here, for ffmpeg to inherit: a path may lead elsewhere by the time at which ffmpeg opens it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _command(path: Path, ffmpeg: Path) -> list[str]:
    """Return openai-whisper's own arguments, and those that restrict ffmpeg to this one file."""
    quiet = ["-nostdin", "-hide_banner", "-v", "error"]
    closed = ["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS]
    source = ["-threads", "1", "-i", f"file:{path.absolute()}", "-vn", "-sn", "-dn"]
    sink = ["-f", "s16le", "-ac", "1", "-acodec", "pcm_s16le", "-ar", str(SAMPLE_RATE), "-"]
    return ["/bin/sh", "-c", _LIMITED, "decode", str(ffmpeg), *quiet, *closed, *source, *sink]


def _start(command: list[str], descriptor: int) -> subprocess.Popen[bytes]:
    """Start ffmpeg in its own process group, with an empty environment: it must not see the fleet's passwords."""
    return subprocess.Popen(
        command,
        bufsize=0,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.defpath, "MALLOC_ARENA_MAX": "2"},
        start_new_session=True,
        pass_fds=(descriptor,),
    )


def _chunks(child: subprocess.Popen[bytes], name: str, seconds: float) -> Iterator[bytes]:
    """Yield what ffmpeg writes until it closes its output; CorruptAudio if it stalls, or needs more than `seconds`."""
    output, deadline = _pipe(child.stdout), time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while True:
            if (left := deadline - time.monotonic()) <= 0:
                raise CorruptAudio(path=name, reason=f"decoding it took more than {seconds:g} s")
            if not selector.select(min(_STALL_SECONDS, left)) and left > _STALL_SECONDS:
                raise CorruptAudio(path=name, reason=f"ffmpeg made no progress for {_STALL_SECONDS:.0f} s")
            if time.monotonic() > deadline:
                continue
            chunk = os.read(output.fileno(), _CHUNK_BYTES)
            if not chunk:
                return
            yield chunk


def _end(child: subprocess.Popen[bytes]) -> None:
    """End ffmpeg and its children, whether it has finished or its reader has stopped."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    _pipe(child.stdout).close()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("the child was started without pipes")
    return stream


def _error(name: str, code: int, complaints: str) -> RequestError:
    """Return the error for the client from ffmpeg's exit code and error output."""
    if "does not contain any stream" in complaints:
        return NoAudioStream(path=name)
    return CorruptAudio(path=name, reason=_reason(code, complaints))


def _reason(code: int, complaints: str) -> str:
    if code == -signal.SIGXCPU:
        return f"ffmpeg needed more than {_CPU_SECONDS} s of processor time"
    if "Format not on whitelist" in complaints:
        return "its format is not one of those that the fleet decodes"
    first = next((line for line in complaints.splitlines() if line.strip()), f"ffmpeg ended with code {code}")
    spoken = re.sub(r"^\[[^]]*\]\s*", "", first)
    return re.sub(r"^(Error opening input\S*|file:.*?):\s+", "", spoken).strip().rstrip(".")[:200]


class _Complaints:
    """Reads the child's stderr, so that it never blocks, and keeps its beginning, which is the most useful part."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._stream = _pipe(child.stderr)
        self._kept = bytearray()
        self._thread = threading.Thread(target=self._drain, name="ffmpeg-stderr", daemon=True)
        self._thread.start()

    def text(self) -> str:
        self._thread.join()
        return self._kept.decode(errors="replace")

    def close(self) -> None:
        self._thread.join()
        self._stream.close()

    def _drain(self) -> None:
        while piece := self._stream.read(_COMPLAINT_BYTES):
            self._kept += piece[: _COMPLAINT_BYTES - len(self._kept)]
