"""The engine's messages travel without torch, which a process that only decides must not need."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from whisper.decoding import DecodingOptions

from whisper_fleet.workers.link.decode_options import options_of, request_of
from whisper_fleet.workers.link.framing import frame, read_tensor, spec_of
from whisper_fleet.workers.link.protocol import PREFIX, Decode, DetectLanguage, read_request

_IMPORT = "import sys, whisper_fleet.workers.link.protocol; sys.exit(bool({'torch', 'whisper'} & sys.modules.keys()))"


def test_messages_are_imported_without_torch() -> None:
    subprocess.run([sys.executable, "-c", _IMPORT], check=True, timeout=60)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_tensor_is_read_from_the_bytes_of_its_frame(dtype: torch.dtype) -> None:
    tensor = torch.randn(3, 5).to(dtype)
    prefix, text, raw = frame(DetectLanguage(tensor=spec_of(tensor)), tensor)
    assert PREFIX.unpack(prefix) == (len(text), len(raw))
    request = read_request(text)
    assert isinstance(request, DetectLanguage)
    assert request.tensor is not None
    assert torch.equal(read_tensor(request.tensor, torch.frombuffer(bytearray(raw), dtype=torch.uint8)), tensor)


def test_bytes_that_do_not_fit_the_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="3 bytes do not make a float32 tensor"):
        read_tensor(spec_of(torch.zeros(1, 1)), torch.zeros(3, dtype=torch.uint8))


def test_decoding_options_survive_their_request() -> None:
    options = DecodingOptions(
        language="en", beam_size=5, prompt=(1, 2), suppress_tokens=[3], max_initial_timestamp=None
    )
    request = read_request(request_of(options).to_json().encode())
    assert isinstance(request, Decode)
    assert vars(options_of(request)) == {**vars(options), "prompt": [1, 2]}
