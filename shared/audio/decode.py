"""Decodes any audio or video file to 16 kHz mono PCM in a hardened ffmpeg child: limited, local, killable."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO

from whisper_fleet.shared import binaries
from whisper_fleet.shared.errors import CorruptAudio, NoAudioStream, RequestError
from whisper_fleet.shared.settings import Settings

#: s16le, mono, SAMPLE_RATE, in pieces of any length; closing it ends its ffmpeg.
PcmStream = Generator[bytes, None, None]

SAMPLE_RATE = 16_000
BYTES_PER_SAMPLE = 2

#: ffmpeg's names of containers that hold their own media. No playlists: they make ffmpeg read other files.
CONTAINERS = "wav,w64,mp3,flac,ogg,aac,mov,matroska,mpegts,mpeg,asf,aiff,au,avi,flv,amr,caf,ac3,eac3,wv,tta,ape,gsm,voc"

_STALL_SECONDS = 60.0  # without a byte of output, ffmpeg hangs
_CPU_SECONDS = 3600  # some 1,500 hours of mp3
_MEMORY_KIB = 4 * 2**20  # of address space; ffmpeg's threads reserve far more than they use
_CHUNK_BYTES = 256 * 1024
_COMPLAINT_BYTES = 4096
# Set by the shell: they hold before ffmpeg's first instruction, and preexec_fn could deadlock among threads.
_LIMITED = f'ulimit -t {_CPU_SECONDS}; ulimit -v {_MEMORY_KIB}; ulimit -f 0; ulimit -c 0; exec "$@"'


def stream_pcm(path: Path, settings: Settings, *, called: str | None = None) -> PcmStream:
    """The samples that `whisper.load_audio` would give, as s16le 16 kHz mono, in pieces as they are decoded.

    Damage that ffmpeg steps over (a torn tail, a bad frame) is stepped over here too, as whisper does.
    Raises NoAudioStream or CorruptAudio when nothing could be decoded or ffmpeg gave up; they name the file as
    its client `called` it.
    """
    name = called or str(path)
    child = _start(_command(path, binaries.ffmpeg(settings.ffmpeg)))
    complaints = _Complaints(child)
    try:
        yield from _chunks(child, name)
        code = child.wait()
        if code != 0:
            raise _error(name, code, complaints.text())
    finally:
        _end(child)
        complaints.close()


def _command(path: Path, ffmpeg: Path) -> list[str]:
    """openai-whisper's own arguments, and those that keep ffmpeg to this one file."""
    quiet = ["-nostdin", "-hide_banner", "-v", "error"]
    closed = ["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS]
    source = ["-threads", "1", "-i", f"file:{path.absolute()}", "-vn", "-sn", "-dn"]
    sink = ["-f", "s16le", "-ac", "1", "-acodec", "pcm_s16le", "-ar", str(SAMPLE_RATE), "-"]
    return ["/bin/sh", "-c", _LIMITED, "decode", str(ffmpeg), *quiet, *closed, *source, *sink]


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    """ffmpeg in its own process group and with a bare environment: it shall not see the fleet's passwords."""
    return subprocess.Popen(
        command,
        bufsize=0,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.defpath, "MALLOC_ARENA_MAX": "2"},
        start_new_session=True,
    )


def _chunks(child: subprocess.Popen[bytes], name: str) -> Iterator[bytes]:
    """What ffmpeg writes, until it closes its output; CorruptAudio when nothing comes for too long."""
    output = _pipe(child.stdout)
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while True:
            if not selector.select(_STALL_SECONDS):
                raise CorruptAudio(path=name, reason=f"ffmpeg made no progress for {_STALL_SECONDS:.0f} s")
            chunk = os.read(output.fileno(), _CHUNK_BYTES)
            if not chunk:
                return
            yield chunk


def _end(child: subprocess.Popen[bytes]) -> None:
    """Nothing of ffmpeg stays, whether it had finished or its reader lost interest."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    _pipe(child.stdout).close()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("the child was started without pipes")
    return stream


def _error(name: str, code: int, complaints: str) -> RequestError:
    """What ffmpeg's exit and its words mean for the client."""
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
    """Drains the child's stderr, so that it never blocks, and keeps its beginning, which says most."""

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
