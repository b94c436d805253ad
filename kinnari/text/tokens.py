"""Segments -> token ids and a loss mask, flat in memory and ready to be batched.

Segments are tokenised apart and their ids concatenated, so the tokens of a prompt are always a prefix of the tokens of the
answered prompt (in Thai, Chinese and Korean text, tokenising the whole would merge over the boundary).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from transformers import PreTrainedTokenizerBase

from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation, Message
from kinnari.text.records import TokenizedRecords, Tokens, flatten
from kinnari.text.template import Segment, Template


class SegmentEncoder:
    """Token ids of segments, template text encoded once and kept."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if tokenizer.eos_token_id is None:
            raise ConfigError(f"{tokenizer.name_or_path} has no EOS token, so no answer could end; give the tokenizer an eos_token.")
        self.tokenizer = tokenizer
        self._template_ids: dict[str, list[int]] = {}

    def encode_all(self, rendered: Sequence[Sequence[Segment]]) -> list[Tokens]:
        """Ids and trained flags of many rendered conversations, their free text in one batched tokenizer call."""
        texts = [s.text for segments in rendered for s in segments if s.kind in ("text", "answer") and s.text]
        # split_special_tokens: control tokens typed by a user stay ordinary characters.
        encoded = iter(self.tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"] if texts else [])
        return [self._join(segments, encoded) for segments in rendered]

    def _join(self, segments: Sequence[Segment], encoded: Iterable[list[int]]) -> Tokens:
        ids: list[int] = []
        trained: list[bool] = []
        for segment in segments:
            piece = self._piece(segment, encoded)
            ids += piece
            trained += [segment.trained] * len(piece)
        return Tokens(ids, trained)

    def _piece(self, segment: Segment, encoded: Iterable[list[int]]) -> list[int]:
        if segment.kind == "eos":
            return [self.tokenizer.eos_token_id]
        if segment.kind == "bos":
            return [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        if not segment.text:
            return []
        if segment.kind == "template":
            if segment.text not in self._template_ids:
                self._template_ids[segment.text] = self.tokenizer(segment.text, add_special_tokens=False)["input_ids"]
            return self._template_ids[segment.text]
        return next(encoded)  # type: ignore[call-overload]


def prompt_ids(encoder: SegmentEncoder, template: Template, prompts: Sequence[Sequence[Message]]) -> list[list[int]]:
    """Token ids of generation prompts, the very prefix that training used."""
    return [tokens.input_ids for tokens in encoder.encode_all([template.render_prompt(m) for m in prompts])]


def tokenize_conversations(
    conversations: Sequence[Conversation],
    encoder: SegmentEncoder,
    template: Template,
    max_length: int,
    on_progress: Callable[[int], None] = lambda done: None,
) -> TokenizedRecords:
    """Tokenise records for a causal model; those with nothing left to train are dropped with a reason.

    Args:
        max_length: tokens per record; a longer record loses its tail (and so its EOS), and is counted as cut.
        on_progress: called with the number of records done, about every thousand.
    """
    kept: list[Tokens] = []
    ids: list[str] = []
    sources: list[str] = []
    dropped: dict[str, str] = {}
    for start in range(0, len(conversations), 1000):
        chunk = conversations[start : start + 1000]
        for record, tokens in zip(chunk, encoder.encode_all([template.render(c.messages) for c in chunk]), strict=True):
            cut = truncate(tokens, max_length)
            reason = nothing_to_train(cut, tokens, max_length)
            if reason:
                dropped[record.record_id] = reason
                continue
            kept.append(cut)
            ids.append(record.record_id)
            sources.append(record.source)
        on_progress(start + len(chunk))
    return flatten(kept, ids, sources, dropped)


def truncate(tokens: Tokens, max_length: int) -> Tokens:
    """The first `max_length` tokens; untouched, EOS included, when they fit."""
    if len(tokens.input_ids) <= max_length:
        return tokens
    return Tokens(tokens.input_ids[:max_length], tokens.trained[:max_length], cut=True)


def nothing_to_train(cut: Tokens, whole: Tokens, max_length: int) -> str | None:
    """Why a record has no trained token, or None if it has one (position 0 has no predecessor, so it does not count)."""
    if any(cut.trained[1:]):
        return None
    if any(whole.trained[1:]):
        return f"the prompt fills max_length={max_length} tokens before the answer begins"
    return "the record has no answer to train on"
