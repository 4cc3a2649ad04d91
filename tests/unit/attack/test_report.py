"""The report of an attack counts every case once."""

from __future__ import annotations

from collections import Counter

from tests.attack.judge import Verdict
from tests.attack.report import merged, report
from tests.support.process_figures import FigureLog, Figures

VERDICTS = [
    Verdict("random requests, seed 0", cases=500, succeeded=100, failed=Counter(BadOption=400), seconds=10.0),
    Verdict("random requests, seed 1", cases=500, failed=Counter(BadOption=499), unanswered=["a"], seconds=12.0),
    Verdict("expansion bombs", cases=3, failed=Counter(AudioTooLong=3), untyped={"b": "KeyError"}, seconds=1.0),
]


def figures(mebibytes: float) -> Figures:
    return Figures(processes=1, memory_mib=mebibytes, descriptors=10, threads=2)


def test_seeds_of_one_attack_are_added_up() -> None:
    assert [(one.name, one.cases, len(one.unanswered)) for one in merged(VERDICTS)] == [
        ("random requests", 1000, 1),
        ("expansion bombs", 3, 0),
    ]


def test_the_report_shows_every_attack_their_sum_and_every_process() -> None:
    log = FigureLog({"intake": [figures(100.0), figures(200.0), figures(250.4), figures(240.0)]})
    lines = report(VERDICTS, log, warm=1, cores=2).splitlines()
    assert "| random requests | 1,000 | 100 | 899 | 0 | 1 | 0 | 22 |" in lines
    assert "| all | 1,003 | 100 | 902 | 0 | 1 | 1 | 23 |" in lines
    assert "Errors by type: BadOption 899, AudioTooLong 3." in lines
    assert "| intake | 200 | 250 | 240 | 10 | 10 | 10 | 2 |" in lines
