"""Clients that others wrote, in environments of their own, against the HTTP server. They need a package registry."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SPEECH, missing
from tests.support.fleet_processes import FleetProcesses
from tests.support.http_server import running_server
from tests.support.speech_files import word_errors, words

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.timeout(900)]

CLIP = min(SPEECH.glob("*.wav"), key=lambda clip: clip.stat().st_size)

_LITELLM = """
import json, sys, litellm
with open(sys.argv[2], "rb") as file:
    answer = litellm.transcription(model="openai/whisper-1", file=file, api_base=sys.argv[1], api_key="unused")
print(json.dumps({"text": answer.text, "duration": answer.get("duration")}))
"""

_NPM = """
import fs from "node:fs";
import OpenAI from "openai";
const [url, file] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: "unused", maxRetries: 0 });
const ask = (options) =>
  client.audio.transcriptions.create({ file: fs.createReadStream(file), model: "whisper-1", ...options });
const verbose = await ask({ response_format: "verbose_json", timestamp_granularities: ["word"] });
let deltas = "", done = "";
for await (const event of await ask({ stream: true })) {
  if (event.type === "transcript.text.delta") deltas += event.delta;
  if (event.type === "transcript.text.done") done = event.text;
}
let refused = 0;
try { await ask({ response_format: "klingon" }); } catch (error) { refused = error.status; }
const out = { text: (await ask({})).text, srt: await ask({ response_format: "srt" }), words: verbose.words.length };
const translated = await client.audio.translations.create({ file: fs.createReadStream(file), model: "whisper-1" });
const models = (await client.models.list()).data.map((model) => model.id);
console.log(JSON.stringify({ ...out, deltas, done, refused, translation: translated.text, models }));
"""


@pytest.fixture(scope="module")
def url(fleet: FleetProcesses) -> Iterator[str]:
    with running_server(fleet.settings) as address:
        yield f"{address}/v1"


def output(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_litellm_gets_the_text_and_the_duration(url: str, speech: dict[Path, str], tmp_path: Path) -> None:
    output(sys.executable, "-m", "venv", "venv", folder=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    output(python, "-m", "pip", "install", "--quiet", "litellm", folder=tmp_path)
    answer = json.loads(output(python, "-c", _LITELLM, url, CLIP, folder=tmp_path).splitlines()[-1])
    assert word_errors(words(answer["text"]), words(speech[CLIP])) <= 1
    assert answer["duration"] > 0


def test_openais_client_for_javascript_gets_every_form(url: str, speech: dict[Path, str], tmp_path: Path) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        missing("node and npm")
    output(npm, "init", "--yes", folder=tmp_path)
    output(npm, "install", "--silent", "openai", folder=tmp_path)
    (tmp_path / "ask.mjs").write_text(_NPM)
    answer = json.loads(output(node, "ask.mjs", url, CLIP, folder=tmp_path))
    assert word_errors(words(answer["text"]), words(speech[CLIP])) <= 1
    assert answer["deltas"] == answer["done"] == answer["text"]
    assert answer["words"] == len(words(answer["text"]))
    assert answer["srt"].startswith("1\n00:00:0")
    assert (answer["refused"], "whisper-1" in answer["models"], bool(answer["translation"])) == (400, True, True)
