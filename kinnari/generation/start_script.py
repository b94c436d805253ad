"""Answers that must begin in a script: the first character after any spaces is of the language's letters, what follows is free.

    start_script=th      สวัสดี...        allowed
                         Hello, ...       not: the model is made to begin in Thai, and goes on in it by itself

WangChanGLM's demo does it by forbidding, for the first token alone, every entry of the vocabulary that is not all Thai. Here tokens are
taken as bytes, because the vocabularies of Llama, Qwen and GPT-2 break a Thai character into several of them: until one character is
complete, only tokens are allowed whose bytes can still become one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedTokenizerBase

from kinnari.errors import ConfigError

# Inclusive ranges of code points. Thai as in WangChanGLM's [ก-๙], which holds the digits and the baht sign too.
_HAN = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF))
SCRIPTS: dict[str, tuple[tuple[int, int], ...]] = {
    "th": ((0x0E01, 0x0E59),),
    "ko": ((0xAC00, 0xD7A3), (0x1100, 0x11FF), (0x3131, 0x318E)),
    "zh": _HAN,
    "ja": ((0x3041, 0x3096), (0x30A1, 0x30FA), (0x3005, 0x3007), *_HAN),
    "en": ((0x41, 0x5A), (0x61, 0x7A)),
}
_LONGEST = 4  # bytes of a character in UTF-8
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "\u2581"  # what SentencePiece writes for a space


class StartInScript(LogitsProcessor):
    """Forbids tokens until a row's answer holds one character of the script.

    Args:
        tokenizer: of the model that answers.
        script: a key of SCRIPTS.

    Attributes:
        begin: column of `input_ids` in which answers begin; the sampler says it for each batch.

    Raises:
        ConfigError: an unknown script, or a vocabulary that cannot write it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, script: str) -> None:
        self.tokens, self.script, self.begin = _bytes_of_tokens(tokenizer), script, 0
        self.allowed = lru_cache(maxsize=None)(self._allowed)
        if not self.allowed(b"").any():
            raise ConfigError(f"generation.start_script={script}: no token of the model's vocabulary begins a text in it. Leave it out.")

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V] with -inf for what is forbidden."""
        said = input_ids[:, self.begin :].tolist()
        rows = [b"".join(self.tokens[token] for token in row).lstrip(b" \n") if len(row) < _LONGEST else None for row in said]
        for i, begun in enumerate(rows):
            if begun is not None and begins(begun, self.script) is None:
                allowed = torch.from_numpy(self.allowed(begun)[: scores.shape[1]]).to(scores.device)
                scores[i, : len(allowed)].masked_fill_(~allowed, -torch.inf)
                scores[i, len(allowed) :] = -torch.inf  # rows of a padded embedding that stand for no token
        return scores

    def _allowed(self, begun: bytes) -> np.ndarray:
        """[V] bool: the tokens after which the answer is, or can still become, one in the script."""
        tokens = (token.lstrip(b" \n") if not begun else token for token in self.tokens)
        return np.array([bool(token) and begins(begun + token, self.script) is not False for token in tokens])


def begins(text: bytes, script: str) -> bool | None:
    """Whether the first character is of the script; None while it is not complete and may become one."""
    if not text:
        return None
    for length in range(1, min(len(text), _LONGEST) + 1):
        try:
            first = text[:length].decode()
        except UnicodeDecodeError:
            continue
        return any(low <= ord(first) <= high for low, high in SCRIPTS[script])
    return None if text in _beginnings(script) else False


@cache
def _beginnings(script: str) -> frozenset[bytes]:
    """Every proper beginning of the UTF-8 form of a character of the script."""
    characters = (chr(point).encode() for low, high in SCRIPTS[script] for point in range(low, high + 1))
    return frozenset(character[:n] for character in characters for n in range(1, len(character)))


def _bytes_of_tokens(tokenizer: PreTrainedTokenizerBase) -> Sequence[bytes]:
    """What each token writes; special tokens, and tokens that stand for no text, write nothing."""
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    special = set(tokenizer.all_special_ids)
    alphabet = _byte_alphabet()
    # A byte-level vocabulary is written in 256 stand-ins, a space as Ġ; elsewhere such letters are letters.
    byte_level = any(name is not None and name.startswith("Ġ") for name in names) and not any(name and _SPACE in name for name in names)
    return [b"" if i in special or name is None else _bytes_of(name, alphabet if byte_level else None) for i, name in enumerate(names)]


def _bytes_of(name: str, alphabet: dict[str, int] | None) -> bytes:
    written = _BYTE_TOKEN.fullmatch(name)
    if written:
        return bytes([int(written[1], 16)])
    if alphabet is not None and all(character in alphabet for character in name):
        return bytes(alphabet[character] for character in name)
    return name.replace(_SPACE, " ").encode("utf-8", "replace")


def _byte_alphabet() -> dict[str, int]:
    """The stand-ins of byte-level BPE: printable Latin-1 bytes stand for themselves, the others for 256, 257, ... in turn (GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
