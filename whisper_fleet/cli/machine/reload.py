"""`reload`: makes changes of the settings file take effect in every process of this machine's fleet."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from pathlib import Path

import click

from whisper_fleet.cli.terminal.printing import Finding, print_findings
from whisper_fleet.shared.embedded_redis import local_var_dir
from whisper_fleet.shared.errors import SetupError
from whisper_fleet.shared.process.record import ProcessRecord, read_records, request_reload
from whisper_fleet.shared.settings import load_settings

_PATIENCE_SECONDS = 15.0
_POLL_SECONDS = 0.1


@click.command()
def reload() -> None:
    """Make changes of the settings file take effect in every process of this machine's fleet.

    Prints what changed in each process, and which settings need a restart. A wrong file is refused, and every process
    keeps its values. Exit code 1 if a process did not reload.
    """
    run = local_var_dir(load_settings()) / "run"  # a wrong file ends here
    try:
        asked = request_reload(run)
    except PermissionError:
        fix = "run this command as the user of the fleet, or use `systemctl reload`"
        raise SetupError(what="the right to signal the processes of the fleet", fix=fix) from None
    if not asked:
        raise SetupError(what=f"a process of a fleet that notes itself in {run}", fix="set WHISPER_FLEET_VAR_DIR")
    after = _wait_for(asked, run)
    findings = [_finding(record, after.get(record.program)) for record in asked]
    print_findings(findings)
    if any(finding.kind == "bad" for finding in findings):
        sys.exit(1)


def _wait_for(asked: Collection[ProcessRecord], run: Path) -> dict[str, ProcessRecord]:
    """Return the records of the processes that have reloaded, by program, when all have or the time is over."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    before = {(record.program, record.pid): record.reloads for record in asked}
    while True:
        records = {record.program: record for record in read_records(run)}
        done = {
            name: record for name, record in records.items() if record.reloads > before.get((name, record.pid), 2**63)
        }
        if len(done) == len(asked) or time.monotonic() > deadline:
            return done
        time.sleep(_POLL_SECONDS)


def _finding(before: ProcessRecord, after: ProcessRecord | None) -> Finding:
    if after is None:
        return Finding("bad", f"{before.program} did not reload within {_PATIENCE_SECONDS:.0f} s: see its log")
    if after.error is not None:
        return Finding("bad", f"{after.program} keeps its settings: {after.error}")
    text = f"{after.program} changed {', '.join(after.changed) or 'nothing'}"
    if after.needs_restart:
        return Finding("note", f"{text}; restart it for {', '.join(after.needs_restart)}")
    return Finding("good", text)
