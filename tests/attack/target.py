"""A live fleet to attack: real processes, a small model, folders with roots, and a site with slow pages."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.attack.judge import Verdict, await_answers, dead_processes, engine_of, tracebacks
from tests.attack.media import small_files
from tests.attack.report import report
from tests.attack.site import Site, running_site
from tests.conftest import SPEECH
from tests.support.fleet_processes import ALL, FleetProcesses, running_fleet
from tests.support.process_figures import FigureLog
from tests.support.redis_server import RedisServer
from whisper_fleet.shared.host import read_host

CLIP = SPEECH / "sense_and_sensibility-0880.wav"
#: Options with which a transcription by random weights ends soon.
CHEAP = {"temperature": 0.0, "sample_len": 8}
#: By how much a process may grow after it was warm: caches fill, and pages are returned late.
MOST_MIB, MOST_DESCRIPTORS = 150.0, 20


@dataclass
class Target:
    """The fleet, what it may use, and what was seen of it."""

    fleet: FleetProcesses
    site: Site
    media: Path  # the only folder that files may be read from
    out: Path  # the only folder that files may be written to
    outside: Path  # what no job may touch
    model: Path
    files: list[Path]  # two seconds of speech, in every format
    engine: int = 0
    verdicts: list[Verdict] = field(default_factory=list)
    figures: FigureLog = field(default_factory=FigureLog)
    #: How many tracebacks the logs had before the attack under way.
    seen: Counter[str] = field(default_factory=Counter)

    def send(self, keywords: dict[str, Any], **options: Any) -> str:
        """Send `transcribe` as any Celery client does, and return the job's id."""
        return str(self.fleet.app.send_task("transcribe", kwargs=keywords, queue="transcribe", **options).id)

    def sample(self) -> None:
        """Note what each process holds now."""
        self.figures.take({name: process.pid for name, process in self.fleet.processes.items()})

    @contextmanager
    def attack(self, name: str) -> Iterator[Verdict]:
        """Judge what the body does: every answer, every process, every log, and that the fleet still works."""
        verdict, began = Verdict(name), time.monotonic()
        yield verdict
        good = self.send({"file_path": str(self.files[0]), **CHEAP})
        after = Verdict("a good job after it")
        await_answers(self.fleet.redis, after, [good])
        verdict.seconds = time.monotonic() - began
        self.verdicts.append(verdict)
        self.sample()
        verdict.check()
        assert after.succeeded == 1, after
        assert dead_processes(self.fleet, self.engine) == []
        found = Counter(tracebacks(self.fleet))
        new, self.seen = found - self.seen, found
        assert not new, new

    def judge(self, verdict: Verdict, jobs: Collection[str]) -> None:
        """Wait for the answers to these jobs and enter them."""
        await_answers(self.fleet.redis, verdict, jobs)

    def report(self) -> str:
        """Return the tables of the attacks, and of what the processes held."""
        return report(self.verdicts, self.figures, self.warm, read_host().cores)

    @property
    def warm(self) -> int:
        """The number of the sample from which on no process should grow: that after the first two attacks."""
        return min(2, min(map(len, self.figures.samples.values())) - 1)

    def check_figures(self) -> None:
        """Fail if a process kept what the attacks made it take."""
        for name in self.figures.samples:
            mebibytes, descriptors = self.figures.growth(name, self.warm)
            assert mebibytes < MOST_MIB and descriptors < MOST_DESCRIPTORS, "\n".join(self.figures.lines(self.warm))


@contextmanager
def attacked(folder: Path, model: Path) -> Iterator[Target]:
    """Run a fleet to attack while the context lasts."""
    media, out, outside, redis_folder = (folder / name for name in ("media", "out", "outside", "redis"))
    for made in (media, out, outside, redis_folder):
        made.mkdir()
    files = small_files(CLIP, media)
    server = RedisServer(redis_folder)
    try:
        server.start()
        settings: dict[str, Any] = {"default_model": str(model), "default_precision": "float32"}
        with running_site(media) as site:
            settings |= {"media_roots": [str(media), str(out)], "url_prefixes": [site.url]}
            settings |= {"callback_prefixes": [site.url], "download_timeout": 30.0, "decode_timeout": 60.0}
            with running_fleet(ALL, server.url, folder, model.parent, **settings) as fleet:
                target = Target(fleet, site, media, out, outside, model, files, engine_of(fleet))
                target.sample()
                yield target
    finally:
        server.kill()
