"""`python -m tests.chaos [ROW...]` runs rows of the table, prints each as it ends, and writes the table."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from pathlib import Path
from tempfile import mkdtemp

from tests.chaos import faults
from tests.chaos.judge import Verdict
from tests.chaos.report import line, skipped_line, table
from tests.chaos.rows import ROWS, Row, select
from tests.chaos.run import Runner, Size
from tests.chaos.scene.machine import missing
from tests.chaos.scene.scene import Scene


def main() -> int:
    arguments = _parser().parse_args()
    faults.load()
    if arguments.list:
        print("\n".join(f"{row.name}{' (slow)' if row.is_slow else ''}" for row in ROWS.values()))
        return 0
    rows = select(arguments.rows, slow=arguments.slow)
    size = Size(jobs=arguments.jobs, segments=arguments.segments)
    folder = Path(mkdtemp(prefix="chaos-"))
    print(f"logs and files: {folder}", flush=True)
    verdicts = _run(rows, size, folder)
    if arguments.out is not None:
        arguments.out.write_text(table(verdicts, size))
    return 0 if all(isinstance(verdict, str) or verdict.is_clean for verdict in verdicts.values()) else 1


def _run(rows: list[Row], size: Size, folder: Path) -> dict[str, Verdict | str]:
    """Return the verdict on each row, or the reason why it was skipped."""
    verdicts: dict[str, Verdict | str] = {}
    scene = Scene(folder, segments=size.segments)
    try:
        scene.close_on_signals()
        scene.start()
        runner = Runner(scene, size)
        _, seconds = runner.reference()
        print(f"undisturbed: {size.jobs} jobs in {seconds:.0f} s", flush=True)
        for row in rows:
            if reason := missing(row, scene):
                verdicts[row.name] = reason
                print(skipped_line(row.name, reason), flush=True)
                continue
            verdict = verdicts[row.name] = _verdict(runner, row)
            print(line(row.name, verdict), flush=True)
    finally:
        scene.close()
    return verdicts


def _verdict(runner: Runner, row: Row) -> Verdict:
    """Return the verdict on a row; a row that cannot be run to its end must not cost the others."""
    try:
        return runner.run(row)
    except Exception as error:
        traceback.print_exc()
        runner.scene.repair()
        return Verdict(leftovers=(f"the row did not come to its end: {error!r}",))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="names or patterns, such as 'SIGKILL*'; all if left out")
    parser.add_argument("--list", action="store_true", help="name the rows")
    parser.add_argument("--slow", action="store_true", help="run the slow rows too")
    parser.add_argument("--jobs", type=int, default=Size.jobs, help="jobs per row")
    parser.add_argument("--segments", type=int, default=Size.segments, help="segments per job")
    parser.add_argument("--out", type=Path, help="write the table to this file")
    return parser


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path.cwd()))  # of the fleet's own processes
    sys.exit(main())
