"""A directory that a client names for its output, opened once: files appear in it complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from whisper_fleet.shared.files.opening import opened_directory, resolved_below

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

#: O_NONBLOCK: opening a FIFO does not wait for a writer.
_LOOK = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
#: Bytes of a small file.
_SMALL = 8192


class Folder:
    """An open directory. Its path may lead elsewhere meanwhile, and what is written still goes here."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def check_writable(self) -> None:
        """Write in it for a test; raises OSError."""
        probe = f".{uuid.uuid4().hex}"
        os.close(os.open(probe, _CREATE, 0o600, dir_fd=self._descriptor))
        os.unlink(probe, dir_fd=self._descriptor)

    def check_name(self, name: str) -> None:
        """Raise OSError if no file can have this name: it is too long, or a directory has it."""
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(name, dir_fd=self._descriptor).st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))

    def exists(self, name: str) -> bool:
        """Return whether anything has this name, be it a link that leads nowhere; raises OSError."""
        try:
            os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def read(self, name: str) -> str | None:
        """Return the beginning of a small file, None if there is none, nothing of a link; raises OSError."""
        try:
            descriptor = os.open(name, _LOOK, dir_fd=self._descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return ""
            raise
        try:
            is_regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            return os.read(descriptor, _SMALL).decode(errors="replace") if is_regular else ""
        finally:
            os.close(descriptor)

    def create(self, name: str, text: str) -> bool:
        """Make a small file; return False if anything has this name. Raises OSError."""
        try:
            descriptor = os.open(name, _CREATE, 0o666, dir_fd=self._descriptor)
        except FileExistsError:
            return False
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._descriptor)
            raise
        return True

    def write(self, name: str, text: str) -> None:
        """Write a file under a temporary name and rename it; a link of that name is replaced and not followed."""
        unfinished = f".{uuid.uuid4().hex}"
        try:
            descriptor = os.open(unfinished, _CREATE, 0o666, dir_fd=self._descriptor)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(unfinished, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(unfinished, dir_fd=self._descriptor)
            raise


@contextlib.contextmanager
def opened_folder(path: Path, roots: Sequence[Path]) -> Iterator[Folder]:
    """Open a directory below the roots, making what is missing of it; raises OutsideRoots or another OSError."""
    with opened_directory(resolved_below(str(path), roots), create=True) as descriptor:
        yield Folder(descriptor)
