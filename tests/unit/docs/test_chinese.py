"""The Chinese pages have the headings and the code blocks of the English ones, in the same order.

A page of docs/zh is the counterpart of the page with the same path below docs; README.zh.md is that of README.md.
Every page for users must have one, unless it is listed below.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
DOCS, CHINESE = REPOSITORY / "docs", REPOSITORY / "docs" / "zh"

#: Guide pages without a counterpart yet; a page that is translated is removed here.
ENGLISH_ONLY: set[str] = set()


def counterparts() -> dict[Path, Path]:
    """Return the English page of each pair with its Chinese one, whether that exists or not."""
    pages = [DOCS / "quickstart.md", DOCS / "troubleshooting.md", *sorted((DOCS / "guide").glob("*.md"))]
    pairs = {page: CHINESE / page.relative_to(DOCS) for page in pages if page.name not in ENGLISH_ONLY}
    return {REPOSITORY / "README.md": REPOSITORY / "README.zh.md", **pairs}


def outline(page: Path) -> list[str]:
    """Return what both languages share, in order: the level of each heading, and each line of each code block."""
    found, in_fence = list[str](), False
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            in_fence = not in_fence
            found.append(f"block {line}")
        elif in_fence or (line.startswith("    ") and line.strip()):
            found.append(f"code {without_comment(line)}")
        elif heading := re.match(r"#+ ", line):
            found.append(f"heading of level {len(heading[0]) - 1}")
    return found


def without_comment(line: str) -> str:
    """Return a line of code without what stands behind two spaces and a #: that is translated."""
    return re.sub(r"\s{2,}#.*", "", line).strip()


def difference(english: Path, chinese: Path) -> str | None:
    """Return the first place where two pages differ, and what to do about it; None if they are in step."""
    theirs, ours = outline(english), outline(chinese)
    place = next((i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), min(len(theirs), len(ours)))
    if theirs == ours:
        return None
    wanted = theirs[place] if place < len(theirs) else "the end of the page"
    found = ours[place] if place < len(ours) else "the end of the page"
    names = [path.as_posix().removeprefix(f"{REPOSITORY}/") for path in (english, chinese)]
    after = theirs[place - 1] if place else "the beginning"
    return (
        f"{names[0]} was changed without {names[1]}. After {after!r} the English page has {wanted!r}, and the Chinese"
        f" one {found!r}. Make the same change in {names[1]}: copy code as it is, and translate headings and text."
    )


@pytest.mark.parametrize("english", counterparts(), ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_headings_and_code_are_in_step(english: Path) -> None:
    chinese = counterparts()[english]
    name = english.name
    assert chinese.exists(), f"{name} has no {chinese}: translate it, or list it in ENGLISH_ONLY of {__file__}"
    problem = difference(english, chinese)
    assert problem is None, problem


def test_every_chinese_page_has_an_english_one() -> None:
    expected = {*counterparts().values(), CHINESE / "index.md"}
    assert {page for page in CHINESE.rglob("*.md") if page not in expected} == set(), "remove it from ENGLISH_ONLY"
    assert {name for name in ENGLISH_ONLY if not (DOCS / "guide" / name).exists()} == set()


@pytest.mark.parametrize(
    ("english", "chinese", "place"),
    [
        ("# A\n\n    make up  # start\n", "# 甲\n\n    make up  # 启动\n", None),
        ("# A\n\n## B\n", "# 甲\n", "heading of level 2"),
        ("# A\n\n    make up\n", "# 甲\n\n    make run\n", "code make up"),
        ("# A\n\n```python\nx = 1\n```\n", "# 甲\n\n```\nx = 1\n```\n", "block ```python"),
        ("# A\n", "# 甲\n\n## 乙\n", "the end of the page"),
    ],
)
def test_what_is_out_of_step_is_named(tmp_path: Path, english: str, chinese: str, place: str | None) -> None:
    ours, theirs = tmp_path / "one.md", tmp_path / "two.md"
    ours.write_text(english)
    theirs.write_text(chinese)
    problem = difference(ours, theirs)
    assert problem is None if place is None else place in str(problem)


def test_a_chinese_page_is_in_chinese() -> None:
    for page in [*counterparts().values(), CHINESE / "index.md"]:
        text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
        assert len(re.findall(r"[\u4e00-\u9fff]", text)) > 60, page
