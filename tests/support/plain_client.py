"""A client as another service writes it: it knows Celery, a URL, and the names of a queue and a task."""

import json
import sys
from typing import Any

from celery import Celery

url, file_path = sys.argv[1:]
app = Celery(broker=url, backend=url)
seen: list[float] = []


def look(message: dict[str, Any]) -> None:
    if message["status"] == "PROGRESS":
        seen.append(message["result"]["seconds_done"])


job = app.send_task(
    "transcribe",
    kwargs={"file_path": file_path, "language": "en", "segment_duration": 30},
    queue="transcribe",
)
transcript = job.get(timeout=300, on_message=look)
bad = app.send_task("transcribe", kwargs={"file_path": "/no/such/file.wav"}, queue="transcribe")
try:
    bad.get(timeout=60)
except Exception as error:
    failure = [type(error).__name__, str(error)]
ours = [name for name in sys.modules if name.split(".")[0] in ("whisper_fleet", "whisper", "torch", "pydantic")]
printed = {"text": transcript["text"], "progress": seen, "failure": failure, "state": bad.state, "ours": ours}
print(json.dumps(printed))
