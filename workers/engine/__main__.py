"""`python -m workers.engine serve`: the engine process; `bench` measures it."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from shared.settings import CrossAttention

_SAMPLES = Path(__file__).parents[2] / "tests" / "data" / "speech"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    arguments = _parser().parse_args(argv)
    log_format = "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(level=arguments.log_level, stream=sys.stderr, format=log_format)
    return int(arguments.run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.engine", description=__doc__)
    parser.add_argument("--log-level", default="INFO")
    commands = parser.add_subparsers(required=True)
    serve = commands.add_parser("serve", help="serve a Unix socket until standard input ends")
    serve.set_defaults(run=_serve)
    serve.add_argument("--socket", type=Path, required=True)
    serve.add_argument("--device", choices=("cuda", "cpu"), required=True)
    serve.add_argument("--slots", type=int, default=1)
    serve.add_argument("--model-dir", type=Path, required=True)
    serve.add_argument("--preload", action="append", default=[], metavar="NAME/PRECISION")
    serve.add_argument("--reproducible", action="store_true", help="the same bytes whatever else is running")
    serve.add_argument("--cross-attention", choices=get_args(CrossAttention), default="auto")
    serve.add_argument(
        "--idle-timeout", type=float, default=900.0, help="seconds until an unused model is unloaded"
    )
    bench = commands.add_parser("bench", help="measure a model on this machine")
    bench.set_defaults(run=_bench)
    bench.add_argument("--model", required=True)
    bench.add_argument("--model-dir", type=Path, required=True)
    bench.add_argument("--device", choices=("cuda", "cpu"), default="cpu")
    bench.add_argument("--rows", type=int, default=4)
    bench.add_argument("--seconds", type=int, default=120, help="of speech a row")
    bench.add_argument("--audio", type=Path, nargs="+", help="speech; else the sample speech of the repository")
    bench.add_argument("--ctranslate2", type=Path, help="folder of the same model for faster-whisper, if installed")
    bench.add_argument("--no-stock", action="store_true", help="without whisper.transcribe() beside it")
    bench.add_argument("--reproducible", action="store_true")
    return parser


def _bench(arguments: argparse.Namespace) -> int:
    from shared.settings import load_settings
    from workers.engine.bench import Plan, bench

    plan = Plan(
        model=arguments.model,
        model_dir=arguments.model_dir,
        device=arguments.device,
        rows=arguments.rows,
        seconds=arguments.seconds,
        files=arguments.audio or sorted(_SAMPLES.glob("*.wav")),
        ctranslate2=arguments.ctranslate2,
        with_stock=not arguments.no_stock,
        reproducible=arguments.reproducible,
    )
    sys.stdout.write(bench(plan, load_settings()) + "\n")
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from workers.engine.engine import Engine, Options
    from workers.engine.protocol import Open
    from workers.engine.server import Server

    engine = Engine(
        Options(
            model_dir=arguments.model_dir,
            device=arguments.device,
            slots=arguments.slots,
            idle_timeout=arguments.idle_timeout,
            reproducible=arguments.reproducible,
            cross_attention=arguments.cross_attention,
        )
    )
    server = Server(engine, arguments.socket, sys.stdin.fileno(), pinned=arguments.device == "cuda")
    for number, model in enumerate(arguments.preload, start=1):
        name, _, precision = model.rpartition("/")
        engine.submit(-number, Open(model=name, precision=precision), None)
        engine.forget(-number)
    server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
