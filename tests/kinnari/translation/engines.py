"""Engines of the tests: a dictionary that anybody can check by eye, and a small M2M100 that has learned a few words."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import M2M100Config, M2M100ForConditionalGeneration, PreTrainedModel, PreTrainedTokenizerBase

from kinnari.models.toy import byte_tokenizer
from kinnari.translation.translator import Progress, Translation, no_progress


@dataclass
class Dictionary:
    """Looks texts up, and everything else it turns round; `fails` are texts it cannot translate, `delays` makes it slow at random."""

    words: Mapping[str, str] = field(default_factory=dict)
    fails: set[str] = field(default_factory=set)
    delays: bool = False
    dies_after: int | None = None  # texts
    name: str = "dictionary"
    asked: list[str] = field(default_factory=list)
    calls: list[tuple[int, str, str]] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"engine": self.name}

    def translate(self, texts: Sequence[str], source: str, target: str, on_progress: Progress = no_progress) -> list[Translation]:
        if self.delays:
            time.sleep(random.random() / 50)
        with self.lock:
            if self.dies_after is not None and len(self.asked) + len(texts) > self.dies_after:
                raise KeyboardInterrupt
            self.asked += texts
            self.calls.append((len(texts), source, target))
        on_progress(len(texts))
        return [Translation(None, "no such word") if t in self.fails else Translation(self.words.get(t, t[::-1])) for t in texts]


WORDS = {("en", "th"): {"hello": "สวัสดี", "cat": "แมว"}, ("en", "ko"): {"hello": "안녕", "cat": "고양이"}, ("th", "en"): {"แมว": "cat"}}
TAGS = {"en": "eng_Latn", "th": "tha_Thai", "ko": "kor_Hang"}


def learned_m2m100(steps: int = 140) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model of NLLB's architecture that says WORDS: [source tag, bytes, EOS] -> [EOS, target tag, bytes, EOS]."""
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(TAGS.values())}, replace_extra_special_tokens=False)
    torch.manual_seed(0)
    config = M2M100Config(
        vocab_size=len(tokenizer), d_model=48, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=96, decoder_ffn_dim=96,
        encoder_attention_heads=4, decoder_attention_heads=4, max_position_embeddings=128, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=2, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, encoder_layerdrop=0.0, decoder_layerdrop=0.0,
        scale_embedding=False,
    )  # fmt: skip
    model = M2M100ForConditionalGeneration(config)
    rows = [(s, t, a, b) for (s, t), words in WORDS.items() for a, b in words.items()]
    tag = tokenizer.convert_tokens_to_ids

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    sources = [[tag(TAGS[s]), *ids(a), 2] for s, _, a, _ in rows]
    targets = [[tag(TAGS[t]), *ids(b), 2] for _, t, _, b in rows]
    width, height = max(map(len, sources)), max(map(len, targets))
    x = torch.tensor([row + [0] * (width - len(row)) for row in sources])
    y = torch.tensor([row + [-100] * (height - len(row)) for row in targets])
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(steps):
        loss = model(input_ids=x, attention_mask=(x != 0).long(), labels=y).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), tokenizer


def save_learned(folder: Path) -> Path:
    """The learned model as a folder."""
    model, tokenizer = learned_m2m100()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
