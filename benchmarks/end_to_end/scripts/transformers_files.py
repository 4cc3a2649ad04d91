"""Transcribe files with transformers' pipeline at several batch sizes; it knows nothing of this project.

python transformers_files.py '{"model": FOLDER, "device": "cuda", "batches": [16, 64], "files": [...]}'
"""

import json
import sys
import time

import torch
from transformers import pipeline

given = json.loads(sys.argv[1])
dtype = torch.float16 if given["device"] == "cuda" else torch.float32
recognise = pipeline(
    "automatic-speech-recognition", model=given["model"], device=given["device"], torch_dtype=dtype, chunk_length_s=30
)
options = {"language": "en", "task": "transcribe"}
recognise(given["files"][0], generate_kwargs=options)
found = {}
for batch in given["batches"]:
    began = time.perf_counter()
    recognise(list(given["files"]), batch_size=batch, generate_kwargs=options)
    found[str(batch)] = time.perf_counter() - began
print(json.dumps(found))
