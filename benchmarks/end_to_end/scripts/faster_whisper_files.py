"""Transcribe files with faster-whisper, one after the other; it knows nothing of this project.

python faster_whisper_files.py '{"model": FOLDER, "device": "cpu", "prompts": true, "files": [...]}'
"""

import importlib
import json
import os
import sys
import time

given = json.loads(sys.argv[1])
kind = "float16" if given["device"] == "cuda" else "float32"
threads = len(os.sched_getaffinity(0))
package = importlib.import_module("faster_whisper")
model = package.WhisperModel(given["model"], device=given["device"], compute_type=kind, cpu_threads=threads)
began = time.perf_counter()
for file in given["files"]:
    segments, _ = model.transcribe(
        file, language="en", beam_size=1, best_of=1, condition_on_previous_text=given["prompts"]
    )
    text = "".join(segment.text for segment in segments)
print(json.dumps({"seconds": time.perf_counter() - began}))
