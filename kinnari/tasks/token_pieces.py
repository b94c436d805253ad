"""Token ids as people can read them, also where one Thai, Korean or Chinese character is spread over several tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

_BYTE_FALLBACK = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True)
class Piece:
    """One token, or the few tokens that are one character only together.

    Attributes:
        text: what it stands for; the bytes in hexadecimal where they are no text.
        count: number of tokens.
        special: a control token.
    """

    text: str
    count: int
    special: bool = False


class TokenPieces:
    """Bytes and readable text of a tokenizer's ids."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.special = set(tokenizer.all_special_ids)
        self.special |= {i for i, added in tokenizer.added_tokens_decoder.items() if added.special}
        self._bytes = {character: byte for byte, character in bytes_to_unicode().items()} if _is_byte_level(tokenizer) else None

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of the text that an ordinary token stands for."""
        token = str(self.tokenizer.convert_ids_to_tokens(token_id))
        fallback = _BYTE_FALLBACK.fullmatch(token)
        if fallback:
            return bytes([int(fallback[1], 16)])
        if self._bytes is not None and all(character in self._bytes for character in token):
            return bytes(self._bytes[character] for character in token)
        return token.replace("▁", " ").encode()

    def pieces(self, ids: Sequence[int] | np.ndarray) -> list[Piece]:
        """Pieces in order; their counts add up to `len(ids)`."""
        found: list[Piece] = []
        pending: list[bytes] = []
        for token_id in map(int, ids):
            if token_id in self.special:
                found += [*_as_hex(pending), Piece(str(self.tokenizer.convert_ids_to_tokens(token_id)), 1, special=True)]
                pending = []
                continue
            pending.append(self.token_bytes(token_id))
            try:
                found.append(Piece(b"".join(pending).decode(), len(pending)))
                pending = []
            except UnicodeDecodeError as problem:
                if problem.reason != "unexpected end of data":
                    found += _as_hex(pending)
                    pending = []
        return found + _as_hex(pending)

    def strings(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        """One string per token: its text, or its bytes where it is only part of a character."""
        strings: list[str] = []
        for piece in self.pieces(ids):
            if piece.count == 1:
                strings.append(piece.text)
            else:
                strings += [_hex(self.token_bytes(int(i))) for i in ids[len(strings) : len(strings) + piece.count]]
        return strings


def _is_byte_level(tokenizer: PreTrainedTokenizerBase) -> bool:
    return tokenizer.is_fast and '"ByteLevel"' in json.dumps(json.loads(tokenizer.backend_tokenizer.to_str())["decoder"])


def _as_hex(tokens: list[bytes]) -> list[Piece]:
    return [Piece(_hex(token), 1) for token in tokens]


def _hex(token: bytes) -> str:
    return f"<{token.hex(' ').upper()}>"
