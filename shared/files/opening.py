"""Opens a path that a client names, so that neither the file nor its directory can be exchanged afterwards.

A path is followed once, link by link, and the result must be below one of the allowed roots. Then it is opened
component by component, each relative to the one before and none through a link (O_NOFOLLOW). An attacker who replaces
a directory by a link between the two steps gets an error. Callers work on the descriptor and never on the path again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

#: O_NONBLOCK: opening a FIFO does not wait for a writer. O_NOCTTY: a terminal does not become the process' own.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC
#: O_PATH needs no permission to list the directory, as a plain open() of a file in it does not.
_ENTER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class OutsideRoots(PermissionError):
    """The path leads outside the allowed directories; whether anything exists there is not said."""


class NotRegularFile(OSError):
    """The path names a directory, device, FIFO, socket, or a file that the kernel makes up."""


def resolved_below(path: str, roots: Sequence[Path]) -> Path:
    """Return an absolute path with every link followed; no roots: it may lead anywhere.

    Raises OutsideRoots, and any other OSError only below the roots.
    """
    try:
        resolved = Path(path).resolve()
    except (OSError, RuntimeError):  # a loop of links, or a name that is too long
        if roots and not any(Path(os.path.normpath(path)).is_relative_to(root.absolute()) for root in roots):
            raise OutsideRoots(errno.EACCES, os.strerror(errno.EACCES)) from None
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
    if roots and not any(resolved.is_relative_to(root.resolve()) for root in roots):
        raise OutsideRoots(errno.EACCES, os.strerror(errno.EACCES))
    return resolved


def open_regular_file(path: str, roots: Sequence[Path] = ()) -> int:
    """Return a descriptor of a regular file, for reading; the caller closes it.

    Raises OutsideRoots, NotRegularFile or another OSError. Never blocks on a FIFO, and never opens a device.
    """
    resolved = resolved_below(path, roots)
    with opened_directory(resolved.parent) as directory:
        # Before it is opened: to open a device may have an effect.
        _check_regular(os.stat(resolved.name or ".", dir_fd=directory, follow_symlinks=False))
        descriptor = os.open(resolved.name, _READ, dir_fd=directory)
    try:
        _check_regular(os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def opened_directory(resolved: Path, *, create: bool = False) -> Iterator[int]:
    """Open a directory, given without links, and yield its descriptor; `create` makes what is missing of it."""
    descriptor = os.open("/", _ENTER)
    try:
        for name in resolved.parts[1:]:
            inner = _enter(descriptor, name, create=create)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _enter(directory: int, name: str, *, create: bool) -> int:
    try:
        return os.open(name, _ENTER, dir_fd=directory)
    except FileNotFoundError:
        if not create:
            raise
    with contextlib.suppress(FileExistsError):  # another process was faster
        os.mkdir(name, dir_fd=directory)
    return os.open(name, _ENTER, dir_fd=directory)


@contextlib.contextmanager
def path_of(descriptor: int, suffix: str = "", *, owner: int | None = None) -> Iterator[Path]:
    """Yield a path of the file behind a descriptor, whatever lies at its old path now.

    The descriptor is one of the process `owner`; None: of whichever process opens the path. ffmpeg recognises some
    formats by the suffix, which /proc cannot have, so the path is a link of that suffix.
    """
    target = f"/proc/{'self' if owner is None else owner}/fd/{descriptor}"
    with tempfile.TemporaryDirectory(prefix="whisper-fleet-") as directory:
        link = Path(directory) / f"input{suffix}"
        link.symlink_to(target)
        yield link


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode) or status.st_dev in _kernel_devices():
        raise NotRegularFile(errno.EINVAL, "not a regular file")


def _kernel_devices() -> set[int]:
    """Return the devices of the file systems whose files the kernel makes up as they are read."""
    devices = set()
    for mount in ("/proc", "/sys"):
        with contextlib.suppress(OSError):
            devices.add(Path(mount).stat().st_dev)
    return devices - {Path("/").stat().st_dev}  # not mounted
