"""What `import whisper_fleet` gives, and what it does not load."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import whisper_fleet
from whisper_fleet import errors
from whisper_fleet.aio import AsyncFleetClient
from whisper_fleet.client import FleetClient
from whisper_fleet.shared import errors as shared_errors

HEAVY = ("torch", "whisper", "numpy", "numba", "psutil", "flower", "rich")


def loaded_by(code: str) -> list[str]:
    """Return which of the heavy modules a program loads in a light installation.

    That one lacks OpenTelemetry. redis-py imports it where it is installed, and with it psutil.
    """
    light = "import sys\nsys.modules['opentelemetry'] = None"
    code = f"{light}\n{code}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout
    return printed.split()


@pytest.mark.parametrize(
    "code",
    ["import whisper_fleet", "from whisper_fleet import *", "import whisper_fleet.legacy, whisper_fleet.errors"],
)
def test_the_client_loads_none_of_what_only_servers_need(code: str) -> None:
    assert loaded_by(code) == []


def test_an_import_alone_loads_neither_celery_nor_pydantic() -> None:
    code = "import whisper_fleet, sys; print({'celery', 'pydantic', 'redis'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True).stdout.strip() == "set()"


def test_every_public_name_is_there_and_described() -> None:
    for name in whisper_fleet.__all__:
        assert inspect.getdoc(getattr(whisper_fleet, name)), name
    assert set(whisper_fleet.__all__) <= set(dir(whisper_fleet))
    unknown = "Fleet"
    with pytest.raises(AttributeError, match="no attribute 'Fleet'"):
        getattr(whisper_fleet, unknown)


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        public = {name: method for name, method in vars(kind).items() if not name.startswith("_")}
        return {name: list(inspect.signature(method).parameters) for name, method in public.items()}

    assert methods(FleetClient) == methods(AsyncFleetClient)


def test_every_error_of_a_request_or_a_job_is_public() -> None:
    kinds = (shared_errors.RequestError, shared_errors.JobError)
    named = {
        name for name, error in vars(shared_errors).items() if isinstance(error, type) and issubclass(error, kinds)
    }
    assert named <= set(errors.__all__)
