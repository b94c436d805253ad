"""Strings -> token ids, piece by piece: what each tokenizer would do differently in mid-text is undone here.

    piece           SentencePiece alone     in mid-text, as here
    "hello"         ▁hello                  hello          no space that nobody wrote
    "<bot>: ","hi"  ▁<bot>:▁  ▁hi           ▁<bot>:  ▁hi   the space of a cue begins the next word, as in running text

SentencePiece tokenizers (XGLM, Llama 2, T5) put a space before every string they are given, because one string was one
sentence. Here it is put at the beginning of a row and after BOS alone, where decoding takes it away, and the one space that
a cue ends with goes over to the answer: that is how the same text is tokenised in one run, and how these models met it in
pre-training. T5's split at white space first and put a space before every word: for them all space between pieces is moved so,
and none is left at the end. Byte-level tokenizers get their pieces as they are.

A control token typed by a user is never that token: not where the tokenizer would recognise it (`encode_special_tokens`),
nor where a unigram model holds it as an ordinary word.
"""

from __future__ import annotations

import itertools
import json
import re
import weakref
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from kinnari.text.template import Segment

FREE_TEXT = ("text", "answer")


class PieceTokenizer:
    """Ids of pieces of text.

    Args:
        tokenizer: any; tokenizers of the `tokenizers` library are called directly, which saves a third of the time.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._backend, self.prefixes_spaces, self._splits_at_spaces = _mid_text_backend(tokenizer)
        self._fixed: dict[tuple[str, str], list[int]] = {}
        added = {i: token.content for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        named = dict(zip(tokenizer.all_special_ids, map(str, tokenizer.all_special_tokens), strict=True))
        control = {i: name for i, name in (added | named).items() if i != tokenizer.unk_token_id}
        self._control = frozenset(control)
        names = sorted((re.escape(name) for name in control.values() if len(name) > 1), key=len, reverse=True)
        self._control_names = re.compile("|".join(names) or r"(?!)")

    def fixed(self, kind: str, text: str) -> list[int]:
        """Ids of a template's own text, of BOS (none if the tokenizer has none) or of EOS; the same list every time."""
        key = (kind if not text else "", text)
        if key not in self._fixed:
            self._fixed[key] = self._encode_fixed(kind, text)
        return self._fixed[key]

    def free_text(self, texts: list[str]) -> list[list[int]]:
        """Ids of people's words, one batched call; control tokens in them stay characters."""
        encoded = self._encode(texts)
        control = self._control
        for i, ids in enumerate(encoded):
            if not control.isdisjoint(ids):
                encoded[i] = self._without_control_tokens(texts[i])
        return encoded

    def with_moved_spaces(self, segments: Sequence[Segment]) -> Sequence[Segment]:
        """Segments whose texts carry the spaces a SentencePiece tokenizer needs; unchanged for all others."""
        if not self.prefixes_spaces or not segments:
            return segments
        if self._splits_at_spaces:
            return self._with_joined_words(segments)
        moved = list(segments)
        for i, segment in enumerate(moved):
            follower = moved[i + 1].kind if i + 1 < len(moved) else "answer"
            if segment.kind in ("template", "opening") and segment.text.endswith(" ") and follower in FREE_TEXT:
                moved[i] = segment._replace(text=segment.text[:-1])
                if i + 1 < len(moved) and moved[i + 1].text:
                    moved[i + 1] = moved[i + 1]._replace(text=" " + moved[i + 1].text)
            if (i == 0 or moved[i - 1].kind == "bos") and self._begins_with_words(moved[i]):
                moved[i] = moved[i]._replace(text=" " + moved[i].text)
        return moved

    def _with_joined_words(self, segments: Sequence[Segment]) -> Sequence[Segment]:
        """Segments without space at their ends, one space where a word begins: `a \\n`, `b` -> ` a`, ` b`."""
        joined: list[Segment] = []
        space = True  # a row begins with a word
        for segment in segments:
            words = segment.text.strip()
            space = space or segment.text[:1].isspace()
            if words:
                begins = space and (segment.kind in FREE_TEXT or not self._control_names.match(words))
                joined.append(segment._replace(text=f" {words}" if begins else words))
                space = segment.text[-1:].isspace()
            else:
                # BOS and EOS have no text; an EOS in mid-row ends a turn, and a word begins after it
                joined.append(segment._replace(text=""))
                space = space or not segment.text
        return joined

    def _begins_with_words(self, segment: Segment) -> bool:
        return bool(segment.text) and (segment.kind in FREE_TEXT or not self._control_names.match(segment.text))

    def _encode_fixed(self, kind: str, text: str) -> list[int]:
        if text and self._backend is not None:
            self._ready(self._backend, split_control_tokens=False)
            return list(self._backend.encode(text, add_special_tokens=False).ids)
        if text:
            return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        if kind == "eos":
            return [self._tokenizer.eos_token_id]
        if kind == "bos" and self._tokenizer.bos_token_id is not None:
            return [self._tokenizer.bos_token_id]
        return []

    def _encode(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        if self._backend is None:
            return list(self._tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"])
        self._ready(self._backend, split_control_tokens=True)
        return [encoding.ids for encoding in self._backend.encode_batch_fast(texts, add_special_tokens=False)]

    @staticmethod
    def _ready(backend: Tokenizer, split_control_tokens: bool) -> None:
        """The backend is shared with whoever else uses the tokenizer, and keeps their settings."""
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = split_control_tokens

    def _without_control_tokens(self, text: str) -> list[int]:
        """Encode a text that spells control tokens in parts that do not: `</s>` as `<` and `/s>`."""
        cuts = [0, *(m.start() + 1 for m in self._control_names.finditer(text)), len(text)]
        ids = self._in_parts([text[a:b] for a, b in itertools.pairwise(cuts) if a < b])
        # a normaliser may have spelled the token out of other characters (full-width brackets): then one at a time
        return ids if self._control.isdisjoint(ids) else [i for i in self._in_parts(list(text)) if i not in self._control]

    def _in_parts(self, parts: list[str]) -> list[int]:
        return [i for ids in self._encode(parts) for i in ids]


# A copy of a backend is worth keeping: 256,000 words take seconds to copy.
_COPIES: weakref.WeakKeyDictionary[PreTrainedTokenizerBase, tuple[Tokenizer, bool, bool]] = weakref.WeakKeyDictionary()


def _mid_text_backend(tokenizer: PreTrainedTokenizerBase) -> tuple[Tokenizer | None, bool, bool]:
    """The tokenizer without the space it puts before every string, whether decoding takes that space away again, and whether it
    splits at white space before it puts one (T5): then any run of white space is one space here.

    None for tokenizers that are not of the `tokenizers` library.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        return None, False, False
    if tokenizer not in _COPIES:
        backend = tokenizer.backend_tokenizer
        normalizer, pre_tokenizer = _layout(backend.normalizer), _layout(backend.pre_tokenizer)
        prefixes = _prefixes(normalizer) | _prefixes(pre_tokenizer)
        splits = "Metaspace" in prefixes and _splits_at_spaces(pre_tokenizer)
        if prefixes:
            whole = json.loads(backend.to_str())
            whole["normalizer"], whole["pre_tokenizer"] = _without_prefix(normalizer), _without_prefix(pre_tokenizer)
            if splits:
                parts = [part for part in (whole["normalizer"], _ONE_SPACE) if part is not None]
                whole["normalizer"] = {"type": "Sequence", "normalizers": parts}
            backend = Tokenizer.from_str(json.dumps(whole))
        _COPIES[tokenizer] = backend, bool({"Metaspace", "Prepend"} & prefixes), splits
    return _COPIES[tokenizer]


_ONE_SPACE = {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}


def _splits_at_spaces(pre_tokenizer: Any) -> bool:
    return isinstance(pre_tokenizer, dict) and any(part.get("type") == "WhitespaceSplit" for part in pre_tokenizer.get("pretokenizers", []))


def _layout(part: Any) -> Any:
    """A normalizer or pre-tokenizer as the dictionary that tokenizer.json holds."""
    return None if part is None else json.loads(part.__getstate__())


def _prefixes(node: Any) -> set[str]:
    """Types of the parts in `node` that put a space before a string."""
    if isinstance(node, list):
        return set().union(*(_prefixes(child) for child in node))
    if not isinstance(node, dict):
        return set()
    own = str(node.get("type"))
    puts = {"Prepend": True, "Metaspace": node.get("prepend_scheme") != "never", "ByteLevel": node.get("add_prefix_space", False)}
    return {own} if puts.get(own) else _prefixes(list(node.values()))


def _without_prefix(node: Any) -> Any:
    if isinstance(node, list):
        # what WhitespaceSplit would take away is the only sign of a word's beginning that is left
        dropped = ("Prepend", "WhitespaceSplit") if "Metaspace" in _prefixes(node) else ("Prepend",)
        return [_without_prefix(child) for child in node if not (isinstance(child, dict) and child.get("type") in dropped)]
    if not isinstance(node, dict):
        return node
    if node.get("type") == "Prepend":
        return None
    changes: dict[Any, dict[str, Any]] = {"Metaspace": {"prepend_scheme": "never"}, "ByteLevel": {"add_prefix_space": False}}
    return {key: _without_prefix(value) for key, value in node.items()} | changes.get(node.get("type"), {})
