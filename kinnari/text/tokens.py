"""Segments -> token ids and a loss mask, flat in memory and ready to be batched.

Segments are tokenised apart and their ids concatenated, so the tokens of a prompt are always a prefix of the tokens of the
answered prompt (in Thai, Chinese and Korean text, tokenising the whole would merge over the boundary).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation, Message
from kinnari.text.pieces import FREE_TEXT, PieceTokenizer
from kinnari.text.records import Tokens
from kinnari.text.template import Renderer, Segment, trained_turns
from kinnari.text.truncation import TOO_LONG, Limits, cut_row

NO_ANSWER = "the record has no answer to train on"
BROKEN_TEXT = "the text holds half of a surrogate pair, which no tokenizer can read"


@dataclass(frozen=True)
class EncodedRows:
    """Many rows end to end; row i is `ids[offsets[i]:offsets[i+1]]`.

    Attributes:
        ids: [total] int32.
        trained: [total] bool.
        offsets: [rows + 1] int64.
        boundaries: [rows], where in its row the last answer begins, counted from the row's start; its length if there is none.
    """

    ids: np.ndarray
    trained: np.ndarray
    offsets: np.ndarray
    boundaries: np.ndarray

    def row(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids [T] int32 and trained [T] bool of row i, views into the whole."""
        span = slice(self.offsets[i], self.offsets[i + 1])
        return self.ids[span], self.trained[span]


class SegmentEncoder:
    """Token ids of segments: free text in one batched tokenizer call, template text encoded once and kept."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if tokenizer.eos_token_id is None:
            raise ConfigError(f"{tokenizer.name_or_path} has no EOS token, so no answer could end; give the tokenizer an eos_token.")
        self.tokenizer = tokenizer
        self.pieces = PieceTokenizer(tokenizer)

    def encode_all(self, rendered: Sequence[Sequence[Segment]]) -> list[Tokens]:
        """Ids and trained flags of many rendered conversations."""
        rows = self.encode_rows(rendered)
        pairs = [rows.row(i) for i in range(len(rendered))]
        return [Tokens(ids.tolist(), trained.tolist()) for ids, trained in pairs]

    def encode_rows(self, rendered: Sequence[Sequence[Segment]]) -> EncodedRows:
        """The same in flat arrays: a Python object per token would cost more than tokenising it.

        Raises:
            UnicodeEncodeError: a text holds half of a surrogate pair.
        """
        rendered = [self.pieces.with_moved_spaces(segments) for segments in rendered]
        free = iter(self.pieces.free_text([s.text for segments in rendered for s in segments if s.kind in FREE_TEXT and s.text]))
        ids: list[int] = []
        lengths: list[int] = []
        flags: list[bool] = []
        offsets, boundaries = [0], []
        for segments in rendered:
            start, boundary = len(ids), -1
            opening = False
            for kind, text, trained in segments:
                piece = self.pieces.fixed(kind, text) if kind not in FREE_TEXT else next(free) if text else []
                if kind == "opening" or (kind == "answer" and not opening):
                    boundary = len(ids)
                opening = kind == "opening"
                ids += piece
                lengths.append(len(piece))
                flags.append(trained)
            offsets.append(len(ids))
            boundaries.append(len(ids) - start if boundary < 0 else boundary - start)
        mask = np.repeat(np.array(flags, dtype=bool), lengths)
        return EncodedRows(np.array(ids, dtype=np.int32), mask, np.array(offsets, dtype=np.int64), np.array(boundaries, dtype=np.int64))


def prompt_ids(encoder: SegmentEncoder, template: Renderer, prompts: Sequence[Sequence[Message]]) -> list[list[int]]:
    """Token ids of generation prompts, the very prefix that training used."""
    rows = encoder.encode_rows([template.render_prompt(m) for m in prompts])
    return [rows.row(i)[0].tolist() for i in range(len(prompts))]


def answer_end_id(encoder: SegmentEncoder, template: Renderer) -> int:
    """The token that ends an answer: the tokenizer's EOS, or the one the template ends answers with.

    Raises:
        ConfigError: that is no token of the tokenizer, so a model could not stop at it.
    """
    ids = encoder.pieces.fixed("eos", template.answer_end or "")
    if len(ids) != 1:
        raise ConfigError(
            f"template {template.name} ends answers with {template.answer_end}, which is no token of {encoder.tokenizer.name_or_path}. "
            "Choose the template of the model's family, or model/template=own."
        )
    return ids[0]


def encode_conversations(
    conversations: Sequence[Conversation],
    encoder: SegmentEncoder,
    template: Renderer,
    limits: Limits,
    loss_on: str = "answers",
    seq2seq: bool = False,
) -> list[Tokens | str]:
    """Tokens of each conversation, or the reason why it cannot be trained on.

    The first token of a causal row has no predecessor and is never trained.

    Args:
        limits: how long a record may be, and what happens to a longer one; with "split" it comes whole, see `parted`.
        loss_on: answers, last_answer or everything, see `kinnari.text.template.LossOn`.
        seq2seq: lay records out for an encoder-decoder, see `kinnari.text.seq2seq_tokens`.

    Returns:
        One entry per conversation; `Tokens` hold arrays: `input_ids` [T] int32, `trained` [T] bool.

    Raises:
        ConfigError: `loss_on` is unknown, or "everything" for an encoder-decoder, whose prompts are never predicted; the
            template ends answers with something that is no token.
    """
    trained_turns([], loss_on)
    answer_end_id(encoder, template)
    if seq2seq:
        from kinnari.text.seq2seq_tokens import encode_seq2seq

        return encode_seq2seq(conversations, encoder, template, limits, loss_on)
    rendered: list[list[Segment]] = []
    results: list[Tokens | str] = []
    for conversation in conversations:
        segments, reason = rendered_or_reason(template, conversation.messages, loss_on)
        rendered.append(segments)
        results.append(reason)
    rows = readable_rows(encoder, rendered, results)
    fits = _fits(rows, limits)
    trained = _trained_counts(rows)
    for i in range(len(results)):
        if not results[i]:
            results[i] = _causal_tokens(rows, i, limits, loss_on, bool(fits[i]), int(trained[i]), rendered[i][0].kind == "bos")
    return results


def rendered_or_reason(template: Renderer, messages: Sequence[Message], loss_on: str) -> tuple[list[Segment], str]:
    """The segments and "", or nothing and the reason why there is nothing to train."""
    try:
        segments = template.render(messages, loss_on)
    except ConfigError as error:
        return [], str(error)
    if any(s.trained and s.text and s.kind in FREE_TEXT for s in segments):
        return segments, ""
    return [], NO_ANSWER


def readable_rows(encoder: SegmentEncoder, rendered: list[list[Segment]], reasons: list) -> EncodedRows:
    """Encoded rows; one whose text no tokenizer can read becomes empty and gets its reason."""
    try:
        return encoder.encode_rows(rendered)
    except (UnicodeEncodeError, TypeError):
        for i, segments in enumerate(rendered):
            if not all(_readable(s.text) for s in segments):
                rendered[i], reasons[i] = [], BROKEN_TEXT
        return encoder.encode_rows(rendered)


def _readable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fits(rows: EncodedRows, limits: Limits) -> np.ndarray:
    lengths = np.diff(rows.offsets)
    fits = lengths <= limits.max_length
    if limits.max_source is not None:
        fits &= rows.boundaries <= limits.max_source
    if limits.max_target is not None:
        fits &= lengths - rows.boundaries <= limits.max_target
    return fits


def _trained_counts(rows: EncodedRows) -> np.ndarray:
    """Trained tokens of each row, after taking the flag of every row's first token away."""
    starts = rows.offsets[:-1]
    rows.trained[starts[np.diff(rows.offsets) > 0]] = False
    sums = np.concatenate([[0], np.cumsum(rows.trained)])
    return sums[rows.offsets[1:]] - sums[starts]


def _causal_tokens(rows: EncodedRows, i: int, limits: Limits, loss_on: str, fits: bool, trained: int, has_bos: bool) -> Tokens | str:
    ids, flags = rows.row(i)
    if trained == 0:
        return NO_ANSWER
    if fits or limits.truncation == "split":
        return Tokens(ids, flags)
    row = cut_row(ids, flags, int(rows.boundaries[i]), limits, has_bos=has_bos, everything=loss_on == "everything")
    if row is None:
        return TOO_LONG
    ids, flags, cut = row
    flags[:1] = False
    if not flags.any():
        return f"the prompt fills max_length={limits.max_length} tokens before the answer begins"
    return Tokens(ids, flags, cut=cut)
