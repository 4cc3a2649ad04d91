"""Measure the structure of the code: `python -m tests.support.structure [ROOT]` prints a table per package.

Everything comes from Python's `ast`, so that a tree can be measured without importing it. The length of a function is
its number of lines without its docstring. Imports below `if TYPE_CHECKING` are left out: they do not run.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

#: The layers from the ground up. A module imports from its own package and from the layers below, never from beside.
LAYERS = (
    ("shared",),
    ("celeryconfig",),
    ("scheduler", "workers"),
    ("deploy",),
    ("whisper_fleet",),
)
PRODUCT = tuple(package for layer in LAYERS for package in layer)
#: What runs the product from outside; tests and benchmarks may use each other.
OUTSIDE = ("benchmarks", "docs", "tests")


@dataclass(frozen=True)
class ClassSize:
    """The size of a class: its methods, and the attributes that it declares or assigns to `self`."""

    name: str
    methods: int
    attributes: int


@dataclass(frozen=True)
class Module:
    """What one file holds. `functions` maps a function's name to its length in lines."""

    name: str
    path: Path
    lines: int
    functions: tuple[tuple[str, int], ...]
    classes: tuple[ClassSize, ...]
    imports: frozenset[str] = field(default_factory=frozenset)

    @property
    def package(self) -> str:
        """The top-level package, such as `scheduler`."""
        return self.name.split(".")[0]


def read_tree(root: Path) -> dict[str, Module]:
    """Read every Python file of the product, the benchmarks and the tests below `root`, by module name."""
    paths = {_module_name(path.relative_to(root)): path for path in _python_files(root)}
    return {name: _read_module(name, path, paths) for name, path in paths.items()}


def import_cycles(modules: Mapping[str, Module]) -> list[list[str]]:
    """Return the groups of modules that import each other in a circle."""
    reach = {name: _reachable(name, modules) for name in modules}
    circles = {frozenset(other for other in reach[name] if name in reach[other]) for name in modules}
    return sorted(sorted(circle) for circle in circles if circle)


def upward_imports(modules: Mapping[str, Module]) -> list[tuple[str, str]]:
    """Return the imports (importer, imported) that lead to a higher layer, or to another package of the same one."""
    level = {package: number for number, layer in enumerate(LAYERS) for package in layer}
    arrows = [(module, modules[other]) for module in modules.values() for other in sorted(module.imports)]
    return [
        (module.name, other.name)
        for module, other in arrows
        if module.package in level
        and module.package != other.package
        and level.get(other.package, len(LAYERS)) >= level[module.package]
    ]


def folder_widths(modules: Mapping[str, Module]) -> dict[Path, int]:
    """Count the Python files of each folder, without `__init__.py`."""
    return Counter(module.path.parent for module in modules.values() if module.path.name != "__init__.py")


def fan_in(modules: Mapping[str, Module]) -> dict[str, int]:
    """Count the modules that import each module."""
    return Counter(other for module in modules.values() for other in module.imports)


def _python_files(root: Path) -> Iterator[Path]:
    """Yield files under their real path: `whisper_fleet/shared` and its siblings are symbolic links."""
    for package in (*PRODUCT, *OUTSIDE):
        if (root / f"{package}.py").exists():
            yield root / f"{package}.py"
        for folder in (root / package, *sorted((root / package).rglob("*"))):
            if folder.is_dir() and not _is_linked(folder, root):
                yield from (path for path in sorted(folder.glob("*.py")) if not path.is_symlink())


def _is_linked(folder: Path, root: Path) -> bool:
    return any(parent.is_symlink() for parent in (folder, *folder.parents) if parent.is_relative_to(root))


def _module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _read_module(name: str, path: Path, known: Mapping[str, Path]) -> Module:
    source = path.read_text()
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return Module(
        name=name,
        path=path,
        lines=len(source.splitlines()),
        functions=tuple((node.name, _length(node)) for node in functions),
        classes=tuple(_class_size(node) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)),
        imports=frozenset(_imports(tree, known)) - {name},
    )


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    length = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None and len(function.body) > 1:
        length -= (first.end_lineno or first.lineno) - first.lineno + 1
    return length


def _class_size(node: ast.ClassDef) -> ClassSize:
    methods = [part for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
    declared = {ast.unparse(part.target) for part in node.body if isinstance(part, ast.AnnAssign)}
    assigned = {
        part.attr
        for method in methods
        for part in ast.walk(method)
        if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store) and _is_self(part.value)
    }
    return ClassSize(name=node.name, methods=len(methods), attributes=len(declared | assigned))


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _imports(tree: ast.Module, known: Mapping[str, Path]) -> Iterator[str]:
    """Yield the modules of the tree that it imports, wherever the import stands."""
    skipped = {part for node in ast.walk(tree) if _is_type_checking(node) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names = [_short(alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            base = _short(node.module)
            names = [full if (full := f"{base}.{alias.name}") in known else base for alias in node.names]
            names = [_short(name) for name in names]
        else:
            continue
        yield from (name for name in names if name in known)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _short(name: str) -> str:
    """Drop `whisper_fleet.` where the module is a symbolic link to a folder at the top of the repository."""
    first, _, rest = name.partition(".")
    return rest if first == "whisper_fleet" and rest.split(".")[0] in PRODUCT else name


def _reachable(start: str, modules: Mapping[str, Module]) -> set[str]:
    """Return every module that `start` imports, directly or not; it contains `start` only if a circle leads back."""
    found: set[str] = set()
    waiting = [*modules[start].imports]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(modules[name].imports)
    return found


_HEADINGS = (
    ("", "files", "lines", "file median / max", "functions", "median / p90 / max", "classes"),
    ("class methods p90 / max", "class attributes max", "widest folder", "fan-out max", "fan-in max"),
)


def table(modules: Mapping[str, Module]) -> str:
    """Return a Markdown table with one row per package, and the cycles and upward imports below it."""
    by_package: dict[str, list[Module]] = defaultdict(list)
    for module in modules.values():
        by_package[module.package].append(module)
    headings = [heading for group in _HEADINGS for heading in group]
    lines = [headings, ["---"] * len(headings)]
    lines += [_row(name, by_package[name], modules) for name in (*PRODUCT, *OUTSIDE) if by_package[name]]
    rows = ["| " + " | ".join(row) + " |" for row in lines]
    cycles, upward = import_cycles(modules), upward_imports(modules)
    return "\n".join([*rows, "", f"import cycles: {len(cycles)}", f"upward imports: {len(upward)}"])


def _row(name: str, modules: list[Module], everything: Mapping[str, Module]) -> list[str]:
    files = [module.lines for module in modules]
    functions = [length for module in modules for _, length in module.functions] or [0]
    classes = [size for module in modules for size in module.classes]
    methods = [size.methods for size in classes] or [0]
    imported = fan_in(everything)
    return [
        name,
        str(len(files)),
        str(sum(files)),
        f"{median(files):g} / {max(files)}",
        str(len(functions)),
        f"{median(functions):g} / {_p90(functions):g} / {max(functions)}",
        str(len(classes)),
        f"{_p90(methods):g} / {max(methods)}",
        str(max((size.attributes for size in classes), default=0)),
        str(max(folder_widths({module.name: module for module in modules}).values(), default=0)),
        str(max(len(module.imports) for module in modules)),
        str(max(imported.get(module.name, 0) for module in modules)),
    ]


def _p90(values: list[int]) -> float:
    return quantiles(values, n=10, method="inclusive")[-1] if len(values) > 1 else values[0]


if __name__ == "__main__":
    print(table(read_tree(Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve())))
