"""Run the engine process: `python -m whisper_fleet.workers.engine serve --socket PATH --device cuda|cpu ...`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from whisper_fleet.shared.display.json_log import log_to_stderr
from whisper_fleet.shared.display.log_records import configure_log_records
from whisper_fleet.shared.models import CrossAttention
from whisper_fleet.shared.settings import load_settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    arguments = _parser().parse_args(argv)
    configure_log_records()
    log_to_stderr(load_settings(), arguments.log_level, "%(asctime)s %(levelname)s %(message)s")
    return int(arguments.run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m whisper_fleet.workers.engine", description=__doc__)
    parser.add_argument("--log-level", default="INFO")
    commands = parser.add_subparsers(required=True)
    serve = commands.add_parser("serve", help="serve a Unix socket until standard input closes")
    serve.set_defaults(run=_serve)
    serve.add_argument("--socket", type=Path, required=True)
    serve.add_argument("--device", choices=("cuda", "cpu"), required=True)
    serve.add_argument("--slots", type=int, default=1)
    serve.add_argument("--model-dir", type=Path, required=True)
    serve.add_argument("--model-root", type=Path, action="append", default=[])
    serve.add_argument("--preload", action="append", default=[], metavar="NAME/PRECISION")
    serve.add_argument("--reproducible", action="store_true", help="give the same bytes whatever else is running")
    serve.add_argument("--bit-exact-encoder", action="store_true", help="encode to the last bit as whisper does")
    serve.add_argument("--cross-attention", choices=get_args(CrossAttention), default="auto")
    serve.add_argument("--idle-timeout", type=float, default=900.0, help="seconds until an unused model is unloaded")
    return parser


def _serve(arguments: argparse.Namespace) -> int:
    from whisper_fleet.workers.engine.engine import Engine
    from whisper_fleet.workers.engine.options import Options
    from whisper_fleet.workers.link.protocol import Open
    from whisper_fleet.workers.link.server import Server

    engine = Engine(
        Options(
            model_dir=arguments.model_dir,
            model_roots=tuple(arguments.model_root),
            device=arguments.device,
            slots=arguments.slots,
            idle_timeout=arguments.idle_timeout,
            reproducible=arguments.reproducible,
            cross_attention=arguments.cross_attention,
            bit_exact_encoder=arguments.bit_exact_encoder,
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
