"""The files of the page: what they may hold, that all languages say the same, and how they are addressed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from whisper_fleet.http.page import assets
from whisper_fleet.http.page.assets import assets_of, load_assets
from whisper_fleet.shared.formats import FORMATS
from whisper_fleet.shared.request.languages import LANGUAGES

STATIC = Path(assets.__file__).parent / "static"
FILES = sorted(path for path in STATIC.rglob("*") if path.is_file())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
MOST_LINES, MOST_FILES = 300, 13


def dictionary(language: str) -> dict[str, str]:
    text = (STATIC / "text" / f"{language}.js").read_text()
    found: dict[str, str] = json.loads(text[text.index("export default ") + 15 :].rstrip().rstrip(";"))
    return found


def named(path: Path) -> str:
    return path.relative_to(STATIC).as_posix()


def test_all_languages_have_the_same_texts_with_the_same_values() -> None:
    english, chinese = dictionary("en"), dictionary("zh")
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", chinese[key])), key


def test_every_text_that_the_page_names_exists_and_is_used() -> None:
    sources = "\n".join(path.read_text() for path in FILES if path.name not in ("en.js", "zh.js"))
    keys = dictionary("en")
    marked = set(re.findall(r'data-t(?:-[a-z-]+)?="([^"]+)"', sources))
    called = set(re.findall(r'\bt\("([^"]+)"', sources))
    plain = {key.removesuffix(".one").removesuffix(".other") for key in keys}
    assert (marked | called) - plain == set()
    templates = re.findall(r"`([\w.]*)\$\{[^}]*\}([\w.]*)`", sources)
    patterns = [re.escape(start) + ".+" + re.escape(end) for start, end in templates if start or end]
    unused = {key for key in plain if f'"{key}"' not in sources}
    assert {key for key in unused if not any(re.fullmatch(pattern, key) for pattern in patterns)} == set()


def test_the_languages_of_recordings_are_those_of_the_fleet() -> None:
    text = (STATIC / "text" / "languages.js").read_text()
    assert "".join(re.findall(r'"([a-z ]+)"', text)).split() == list(LANGUAGES)
    assert len(LANGUAGES) > 90


@pytest.mark.parametrize("script", ["jobs/options.js", "transcript/downloads.js"])
def test_the_formats_are_those_of_the_fleet(script: str) -> None:
    listed = re.search(r"FORMATS = \[(.*)\]", (STATIC / script).read_text())
    assert listed is not None
    assert sorted(json.loads(f"[{listed[1]}]")) == sorted(FORMATS)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_files_are_short_and_load_nothing_from_elsewhere(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MOST_LINES
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)[^\s\"')]*", text) == []


def test_folders_are_narrow() -> None:
    folders = [STATIC, *(path for path in STATIC.rglob("*") if path.is_dir())]
    assert [named(folder) for folder in folders if len(list(folder.iterdir())) > MOST_FILES] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=named)
def test_no_script_makes_html_from_text(path: Path) -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(\"style"
    assert re.findall(forbidden, path.read_text()) == []


def test_the_first_file_has_no_inline_script_or_style() -> None:
    text = (STATIC / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=", text) == []


def test_modules_import_only_files_that_exist() -> None:
    for path in SCRIPTS:
        for target in re.findall(r'(?:from|import) "(\.[^"]+)"', path.read_text()):
            assert (path.parent / target).resolve() in FILES, (named(path), target)


def test_the_address_of_every_file_changes_with_any_file() -> None:
    first = assets_of({"index.html": b"{{assets}}/a.js", "a.js": b"1"})
    second = assets_of({"index.html": b"{{assets}}/a.js", "a.js": b"2"})
    assert first.digest != second.digest
    assert first.index.content.decode() == f"/page/{first.digest}/a.js"
    assert "index.html" not in first.by_path


def test_every_file_that_the_first_one_names_is_sent() -> None:
    loaded = load_assets()
    addresses = re.findall(r'(?:src|href)="(/page/[^"]+)"', loaded.index.content.decode())
    assert len(addresses) > 8
    for address in addresses:
        assert address.removeprefix(f"/page/{loaded.digest}/") in loaded.by_path
