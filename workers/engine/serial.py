"""One request after another with whisper's own decode: the simplest engine behind the border."""

from __future__ import annotations

import logging
import os
import queue
import threading
from concurrent.futures import Future
from pathlib import Path

import torch
import whisper
from shared.errors import EngineError, EngineRequestInvalid
from torch import Tensor
from whisper.model import Whisper, disable_sdpa
from whisper.timing import median_filter
from whisper.tokenizer import get_tokenizer

from workers.engine.checkpoint import open_checkpoint
from workers.engine.protocol import (
    Aligned,
    AskStats,
    Decode,
    Decoded,
    DetectLanguage,
    Done,
    EngineStats,
    Language,
    Open,
    Opened,
    Request,
    Resize,
    WindowGone,
    spec_of,
)

log = logging.getLogger(__name__)


class SerialEngine:
    def __init__(self, *, model_dir: Path, slots: int) -> None:
        self._model_dir, self._slots = model_dir, slots
        self._models: dict[str, Whisper] = {}
        self._session_model: dict[int, Whisper] = {}
        self._mel: dict[int, Tensor] = {}
        self._inbox: queue.SimpleQueue[tuple[int, Request, Tensor | None, Future]] = queue.SimpleQueue()
        self._gone: set[int] = set()
        threading.Thread(target=self._run, daemon=True).start()

    def submit(self, session, request, tensor):
        future = Future()
        self._inbox.put((session, request, tensor, future))
        return future

    def forget(self, session):
        self._gone.add(session)
        self._mel.pop(session, None)

    def _run(self):
        while True:
            session, request, tensor, future = self._inbox.get()
            if session in self._gone:
                continue
            try:
                if tensor is not None:
                    self._mel[session] = tensor.float()
                future.set_result(self._answer(session, request))
            except EngineError as error:
                future.set_exception(error)
            except Exception as error:
                future.set_exception(error)

    @torch.no_grad()
    def _answer(self, session, request):
        if isinstance(request, Open):
            if request.model not in self._models:
                checkpoint = open_checkpoint(request.model, self._model_dir)
                model = Whisper(checkpoint.dims)
                model.load_state_dict(checkpoint.weights)
                self._models[request.model] = model.eval()
                model.heads = checkpoint.alignment_heads
            model = self._session_model[session] = self._models[request.model]
            return Opened(dims=vars(model.dims), alignment_heads=model.heads, precision="float32"), None
        if isinstance(request, Resize):
            self._slots = request.slots
            return Done(), None
        if isinstance(request, AskStats):
            return EngineStats(pid=os.getpid(), device="cpu", slots=self._slots, rows_live=0, rows_waiting=0, windows_per_s=0,
                               times_realtime=0, tokens_per_s=0, share_encode=0, share_prefill=0, share_decode=0,
                               share_idle=1, memory_bytes={}, models=tuple(f"{m}/float32" for m in self._models)), None
        model = self._session_model[session]
        mel = self._mel.get(session)
        if mel is None:
            return WindowGone(), None
        try:
            if isinstance(request, Decode):
                from dataclasses import replace
                result = whisper.decode(model, mel, replace(request.options(), fp16=False))
                return Decoded(**{k: v for k, v in vars(result).items() if k != "audio_features"}), None
            if isinstance(request, DetectLanguage):
                token, probs = whisper.detect_language(model, mel)
                return Language(token=int(token), probs=probs), None
        except (ValueError, AssertionError) as error:
            raise EngineRequestInvalid(reason=str(error)) from error
        return self._align(model, mel, request)

    def _align(self, model, mel, request):
        tokenizer = get_tokenizer(model.is_multilingual, num_languages=model.num_languages, language=request.language, task=request.task)
        tokens = torch.tensor([*tokenizer.sot_sequence, tokenizer.no_timestamps, *request.text_tokens, tokenizer.eot])
        qks = [None] * model.dims.n_text_layer
        hooks = [b.cross_attn.register_forward_hook(lambda _, i, o, n=n: qks.__setitem__(n, o[-1][0])) for n, b in enumerate(model.decoder.blocks)]
        with disable_sdpa():
            logits = model(mel.unsqueeze(0), tokens.unsqueeze(0))[0]
        for hook in hooks:
            hook.remove()
        probs = logits[len(tokenizer.sot_sequence):, :tokenizer.eot].softmax(-1)
        probs = probs[range(len(request.text_tokens)), request.text_tokens].tolist()
        weights = torch.stack([qks[l][h] for l, h in model.heads])[:, :, : request.num_frames // 2]
        weights = (weights * request.qk_scale).softmax(-1)
        std, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
        matrix = median_filter((weights - mean) / std, request.medfilt_width).mean(axis=0)[len(tokenizer.sot_sequence):-1]
        return Aligned(text_token_probs=probs, tensor=spec_of(matrix)), matrix.contiguous()
