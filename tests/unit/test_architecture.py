"""The structure of the code: imports lead one way, files are short, folders are narrow."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest

from tests.support.structure import (
    PRODUCT,
    Module,
    fan_in,
    folder_widths,
    import_cycles,
    read_tree,
    table,
    upward_imports,
)

REPOSITORY = Path(__file__).parents[2]
MOST_LINES = 300
MOST_FILES = 13
#: `shared` has no packages for what crosses a process border yet; this number only goes down.
WIDER = {"shared": 15}


@lru_cache(maxsize=1)
def tree() -> dict[str, Module]:
    return read_tree(REPOSITORY)


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert import_cycles(tree()) == []


def test_no_module_imports_from_a_layer_above_or_beside_it() -> None:
    assert upward_imports(tree()) == []


def test_no_file_is_longer_than_a_reader_keeps_in_mind() -> None:
    assert {module.name: module.lines for module in tree().values() if module.lines > MOST_LINES} == {}


def test_no_folder_of_the_product_holds_more_files_than_a_glance() -> None:
    product = {name: module for name, module in tree().items() if module.package in PRODUCT}
    wide = {str(folder.relative_to(REPOSITORY)): count for folder, count in folder_widths(product).items()}
    assert {folder: count for folder, count in wide.items() if count > WIDER.get(folder, MOST_FILES)} == {}


def test_the_whole_product_is_measured() -> None:
    assert {module.package for module in tree().values()} >= set(PRODUCT)
    assert fan_in(tree())["shared.settings"] > 10
    assert "import cycles: 0" in table(tree())


@pytest.mark.parametrize(
    ("files", "cycles", "upward"),
    [
        ({"shared/a.py": "import scheduler.b", "scheduler/b.py": ""}, [], [("shared.a", "scheduler.b")]),
        (
            {"workers/a.py": "from whisper_fleet.scheduler import b", "scheduler/b.py": ""},
            [],
            [("workers.a", "scheduler.b")],
        ),
        (
            {"shared/a.py": "from shared import b", "shared/b.py": "from shared.a import c"},
            [["shared.a", "shared.b"]],
            [],
        ),
        ({"scheduler/b.py": "from shared.a import thing", "shared/a.py": ""}, [], []),
    ],
)
def test_cycles_and_upward_imports_are_seen(
    tmp_path: Path, files: dict[str, str], cycles: list[list[str]], upward: list[tuple[str, str]]
) -> None:
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    modules = read_tree(tmp_path)
    assert import_cycles(modules) == cycles
    assert upward_imports(modules) == upward
