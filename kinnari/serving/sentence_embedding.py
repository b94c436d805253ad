"""Sentences as unit vectors: any encoder that transformers loads, its last hidden states averaged over the real tokens."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from kinnari.errors import ConfigError
from kinnari.models.cache import store_file
from kinnari.models.encoder import encoder_positions
from kinnari.models.fingerprint import model_fingerprint
from kinnari.models.load import load_model, load_tokenizer
from kinnari.models.spec import ModelSpec

log = logging.getLogger(__name__)

Vectors = NDArray[np.float32]


class SentenceEmbedder(Protocol):
    """Texts in, vectors out.

    Attributes:
        identity: equal identities give equal vectors; names cached ones.
    """

    identity: str

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """[N, D] float32, each row of length 1; from any thread."""


class EncoderEmbedder:
    """Mean-pooled sentence embeddings, such as those of multilingual E5 or paraphrase-multilingual-MiniLM.

    Args:
        model: folder or hub id.
        prefix: what the encoder was trained to have in front of every text.
        max_length: tokens of a text; the rest is not read.
        batch_size: texts of one forward.

    Raises:
        ConfigError: no encoder there, or one whose sentences are not the mean of its tokens.
    """

    def __init__(self, model: str, *, prefix: str = "", max_length: int = 256, batch_size: int = 16, device: str = "cpu") -> None:
        _check_pooling(Path(model).expanduser())
        spec = ModelSpec(
            name=Path(model).name,
            architecture="encoder",
            path=model,
            package=None,
            toy=None,
            lora_targets=[],
            block_classes=[],
            max_length=max_length,
            dtype="float32",
            attention="auto",
            packing="none",
            pad_token=None,
            licence="unstated",
            notice=None,
        )
        self.tokenizer = load_tokenizer(spec)
        self.model = load_model(spec, dtype=torch.float32, device=device)
        self.prefix, self.max_length, self.batch_size = prefix, max_length, batch_size
        vocabulary = hashlib.sha256(json.dumps(sorted(self.tokenizer.get_vocab().items())).encode()).hexdigest()
        self.identity = f"{model_fingerprint(self.model)} {vocabulary} {max_length} {prefix!r}"
        self._one_at_a_time = threading.Lock()  # forwards side by side would only wait for each other's cores

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """See `SentenceEmbedder`; a text without any token is of length 0."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors = np.zeros((len(texts), self.model.config.hidden_size), np.float32)
        for start in range(0, len(order), self.batch_size):
            places = order[start : start + self.batch_size]
            with self._one_at_a_time, torch.inference_mode():  # so nobody waits for all of a long text
                vectors[places] = self._embed([texts[i] for i in places])
        return vectors

    def _embed(self, texts: Sequence[str]) -> Vectors:
        encoded = self.tokenizer(
            [self.prefix + text for text in texts], padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
        ).to(self.model.device)
        mask = encoded["attention_mask"]
        hidden = self.model(input_ids=encoded["input_ids"], attention_mask=mask, **encoder_positions(self.model, mask)).last_hidden_state
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return torch.nn.functional.normalize(mean.float(), dim=-1).cpu().numpy()


def cached_embeddings(embedder: SentenceEmbedder, texts: Sequence[str], folder: Path | None = None) -> Vectors:
    """Vectors of texts, out of a safetensors file if the same embedder has seen the same texts before.

    Args:
        folder: of the files; None is `guard` in Kinnari's cache.
    """
    name = hashlib.sha256(json.dumps([embedder.identity, *texts]).encode()).hexdigest()[:32]
    path = (folder or store_file("guard")) / f"{name}.safetensors"
    try:
        found: Vectors = load_file(path)["embeddings"]
        if found.ndim == 2 and len(found) == len(texts) and np.isfinite(found).all():
            return found
    except (OSError, SafetensorError, KeyError):
        pass  # not there, or damaged: made anew
    log.info("Embedding %d examples of the guard.", len(texts))
    vectors = np.ascontiguousarray(embedder(texts), dtype=np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, suffix=".part")
    os.close(descriptor)
    save_file({"embeddings": vectors}, unfinished)
    Path(unfinished).replace(path)  # whole or absent
    return vectors


def _check_pooling(folder: Path) -> None:
    """A folder of sentence-transformers says how its sentences are made; by the mean of tokens alone others would be nonsense."""
    modules = folder / "modules.json"
    if not modules.is_file():
        return
    try:
        kinds = {str(entry["type"]).rpartition(".")[2]: str(entry["path"]) for entry in json.loads(modules.read_text("utf-8"))}
        pooling = json.loads((folder / kinds["Pooling"] / "config.json").read_text("utf-8")) if "Pooling" in kinds else {}
        modes = [name for name, chosen in pooling.items() if name.startswith("pooling_mode_") and chosen is True]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{modules} cannot be read ({error}). Copy the folder of the sentence encoder again.") from error
    others = set(kinds) - {"Transformer", "Pooling", "Normalize"}
    if others or modes not in ([], ["pooling_mode_mean_tokens"]):
        made = ", ".join(sorted(others) or modes)
        raise ConfigError(f"{folder} makes its sentences by {made}; guard.model needs an encoder with mean pooling alone.")
