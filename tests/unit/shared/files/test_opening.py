"""A path that a client names is opened only below its roots, only if it is a file, and is never followed twice."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from whisper_fleet.shared.files import folder, opening
from whisper_fleet.shared.files.folder import opened_folder
from whisper_fleet.shared.files.opening import NotRegularFile, OutsideRoots, open_regular_file, path_of


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A root with a file in it, and a secret beside it."""
    (tmp_path / "media" / "talks").mkdir(parents=True)
    (tmp_path / "media" / "talks" / "a.wav").write_text("a talk")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "a.wav").write_text("a secret")
    return tmp_path / "media"


def content(path: Path, *roots: Path) -> str:
    descriptor = open_regular_file(str(path), roots)
    with os.fdopen(descriptor) as file:
        return file.read()


def test_a_file_is_opened_by_its_path_and_by_links_that_stay_below_the_roots(media: Path) -> None:
    (media / "link.wav").symlink_to(media / "talks" / "a.wav")
    (media / "folder").symlink_to("talks")
    for path in (media / "talks/a.wav", media / "link.wav", media / "folder/a.wav", media / "talks/../talks/a.wav"):
        assert content(path, media) == content(path) == "a talk"


@pytest.mark.parametrize("name", ["a.wav", "missing.wav", "missing/deeper.wav", "loop", "locked/a.wav"])
def test_whether_anything_exists_outside_the_roots_is_not_said(media: Path, name: str) -> None:
    secrets = media.parent / "secrets"
    (secrets / "loop").symlink_to(secrets / "loop")
    (secrets / "locked").mkdir(mode=0)
    (media / "link").symlink_to(secrets)
    for path in (secrets / name, media / ".." / "secrets" / name, Path(f"{media}-too") / name):
        with pytest.raises(OutsideRoots) as error:
            open_regular_file(str(path), (media,))
        assert str(error.value) == "[Errno 13] Permission denied"
    with pytest.raises(OSError):
        open_regular_file(str(media / "link" / name), (media,))


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, _socket], ids=["fifo", "directory", "socket"])
def test_only_regular_files_are_opened_and_nothing_blocks(media: Path, make: Callable[[Path], None]) -> None:
    make(media / "odd")
    (media / "link").symlink_to(media / "odd")
    for path in (media / "odd", media / "link"):
        with pytest.raises(NotRegularFile):
            open_regular_file(str(path), (media,))


@pytest.mark.parametrize(
    "path", ["/dev/zero", "/dev/null", "/proc/self/environ", "/proc/self/mem", "/sys/kernel/profiling", "/"]
)
def test_devices_and_files_that_the_kernel_makes_up_are_no_files(path: str) -> None:
    if not Path(path).exists():
        pytest.skip(f"this kernel has no {path}")
    with pytest.raises(NotRegularFile):
        open_regular_file(path)


def test_a_magic_link_leads_where_its_file_is(media: Path) -> None:
    with (media.parent / "secrets" / "a.wav").open() as secret, pytest.raises(OutsideRoots):
        open_regular_file(f"/proc/self/fd/{secret.fileno()}", (media,))


def test_a_folder_that_is_replaced_by_a_link_after_the_check_leads_nowhere(
    media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = opening.resolved_below

    def checked_and_replaced(path: str, roots: tuple[Path, ...]) -> Path:
        resolved = check(path, roots)
        (media / "talks").rename(media / "before")
        (media / "talks").symlink_to(media.parent / "secrets")
        return resolved

    monkeypatch.setattr(opening, "resolved_below", checked_and_replaced)
    with pytest.raises(NotADirectoryError):
        open_regular_file(str(media / "talks" / "a.wav"), (media,))


def test_a_file_that_is_replaced_by_a_link_or_a_fifo_after_the_check_is_not_opened(
    media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = opening.resolved_below

    def replaced_by(make: Callable[[Path], None]) -> Callable[[str, tuple[Path, ...]], Path]:
        def checked_and_replaced(path: str, roots: tuple[Path, ...]) -> Path:
            resolved = check(path, roots)
            resolved.unlink()
            make(resolved)
            return resolved

        return checked_and_replaced

    file = media / "talks" / "a.wav"
    for make in (lambda path: path.symlink_to(media.parent / "secrets" / "a.wav"), os.mkfifo):
        file.unlink(missing_ok=True)
        file.write_text("a talk")
        monkeypatch.setattr(opening, "resolved_below", replaced_by(make))
        with pytest.raises(NotRegularFile):
            open_regular_file(str(file), (media,))
        monkeypatch.undo()


def test_the_path_of_a_descriptor_stays_with_its_file(media: Path) -> None:
    descriptor = open_regular_file(str(media / "talks" / "a.wav"), (media,))
    (media / "talks" / "a.wav").unlink()
    (media / "talks" / "a.wav").write_text("another talk")
    with path_of(descriptor, ".wav", owner=os.getpid()) as path:
        assert path.suffix == ".wav"
        assert path.read_text() == "a talk"
    os.close(descriptor)
    assert not path.exists()


def test_output_goes_to_the_folder_that_was_checked(media: Path) -> None:
    with opened_folder(media / "new" / "out", (media,)) as out:
        (media / "new").rename(media / "moved")
        (media / "new").symlink_to(media.parent / "secrets")
        out.write("a.txt", "hello")
    assert (media / "moved" / "out" / "a.txt").read_text() == "hello"
    assert [path.name for path in (media.parent / "secrets").iterdir()] == ["a.wav"]


def test_an_output_folder_that_is_replaced_by_a_link_gets_nothing(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = opening.resolved_below

    def checked_and_replaced(path: str, roots: tuple[Path, ...]) -> Path:
        resolved = check(path, roots)
        (media / "out").symlink_to(media.parent / "secrets")
        return resolved

    monkeypatch.setattr(folder, "resolved_below", checked_and_replaced)
    with pytest.raises(NotADirectoryError), opened_folder(media / "out", (media,)):
        pass


def test_an_output_file_replaces_a_link_and_not_what_it_leads_to(media: Path) -> None:
    (media / "a.txt").symlink_to(media.parent / "secrets" / "a.wav")
    with opened_folder(media, (media,)) as out:
        out.write("a.txt", "hello")
    assert (media / "a.txt").read_text() == "hello"
    assert (media.parent / "secrets" / "a.wav").read_text() == "a secret"
    assert sorted(path.name for path in media.iterdir()) == ["a.txt", "talks"]


def test_an_output_folder_outside_the_roots_is_not_made(media: Path) -> None:
    (media / "link").symlink_to(media.parent / "secrets")
    for path in (media.parent / "elsewhere", media / "link" / "new", media / ".." / "new"):
        with pytest.raises(OutsideRoots), opened_folder(path, (media,)):
            pass
    assert sorted(path.name for path in media.parent.iterdir()) == ["media", "secrets"]
