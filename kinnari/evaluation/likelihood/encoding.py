"""Candidates -> tokens, and which of them hold the label.

The whole text is tokenised in one piece, as the tokenizer adds special tokens itself; an EOS that it puts behind is left out. Label
tokens are those that hold a character of the label, so a token that reaches from the text before into the label counts.

    这是关于|财经|的文章     ▁这是 关于 财 经 的 文章
                              0    1   2  3  4   5        start 2, stop 4
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from kinnari.errors import ConfigError


@dataclass(frozen=True)
class Piece:
    """A text to be tokenised, in three parts, of which the middle one is the label; `name` stands in messages."""

    before: str
    label: str
    after: str
    name: str


@dataclass(frozen=True)
class Encoded:
    """A tokenised candidate.

    Attributes:
        ids: those that are scored: the whole text of a causal model, what the decoder or GLM's blank says of a model of two sides.
        start, stop: where the label's tokens are.
        lead: special tokens at the beginning, which stay when a text is cut.
        source: the other side's tokens; empty for a causal model.
        cut: tokens that were cut off at the left.
    """

    ids: tuple[int, ...]
    start: int
    stop: int
    lead: int
    source: tuple[int, ...] = ()
    cut: int = 0


def encode(tokenizer: PreTrainedTokenizerBase, pieces: Sequence[Piece], *, special: bool = True) -> list[Encoded]:
    """Tokens of each piece.

    Args:
        special: add the tokenizer's special tokens in front.

    Raises:
        ConfigError: a label without a token.
    """
    if not pieces:
        return []
    encoded = _by_offsets(tokenizer, pieces, special) if tokenizer.is_fast else [_by_length(tokenizer, piece, special) for piece in pieces]
    for piece, tokens in zip(pieces, encoded, strict=True):
        if tokens.start >= tokens.stop:
            raise ConfigError(
                f"{piece.name}: the label {piece.label!r} has no token of its own in {(piece.before + piece.label + piece.after)[-80:]!r}, "
                "so nothing could be scored. Give every candidate a label that the tokenizer keeps."
            )
    return encoded


def _by_offsets(tokenizer: PreTrainedTokenizerBase, pieces: Sequence[Piece], special: bool) -> list[Encoded]:
    batch = _tokenised(
        tokenizer,
        [piece.before + piece.label + piece.after for piece in pieces],
        special,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    found = []
    for piece, ids, offsets, added in zip(pieces, batch["input_ids"], batch["offset_mapping"], batch["special_tokens_mask"], strict=True):
        lead, length = _body(added, offsets)
        begin, end = len(piece.before), len(piece.before) + len(piece.label)
        held = [t for t in range(lead, length) if offsets[t][0] < end and offsets[t][1] > begin and offsets[t][0] < offsets[t][1]]
        start, stop = (held[0], held[-1] + 1) if held else (0, 0)
        found.append(Encoded(tuple(ids[:length]), start, stop, lead))
    return found


def _body(added: Sequence[int], offsets: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Where the text begins between the special tokens that were put around it, and where it ends."""
    put = [flag == 1 and begin == end for flag, (begin, end) in zip(added, offsets, strict=True)]
    lead = next((t for t, special in enumerate(put) if not special), len(put))
    length = len(put)
    while length > lead and put[length - 1]:
        length -= 1
    return lead, length


def _by_length(tokenizer: PreTrainedTokenizerBase, piece: Piece, special: bool) -> Encoded:
    """Tokenizers without offsets: the label begins where the tokens of the text before it would end."""
    whole, before, upto = (
        list(_tokenised(tokenizer, [text], False)["input_ids"][0])
        for text in (piece.before + piece.label + piece.after, piece.before, piece.before + piece.label)
    )
    front: list[int] = []
    if special:
        around = list(tokenizer.build_inputs_with_special_tokens(whole))
        front = around[: next(t for t in range(len(around) + 1) if around[t : t + len(whole)] == whole)]
    start = min(len(before), max(len(whole) - 1, 0))
    stop = max(min(len(upto), len(whole)), start + bool(piece.label))
    return Encoded((*front, *whole), len(front) + start, len(front) + min(stop, len(whole)), len(front))


def _tokenised(tokenizer: PreTrainedTokenizerBase, texts: list[str], special: bool, **more: Any) -> Any:
    try:
        return tokenizer(texts, add_special_tokens=special, padding=False, truncation=False, verbose=False, **more)
    except (UnicodeEncodeError, TypeError) as error:
        broken = next((text for text in texts if not _is_text(text)), texts[0])
        raise ConfigError(f"{broken[:80]!r} holds half of a surrogate pair, which no tokenizer can read; mend the file.") from error


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def with_first_token(tokenizer: PreTrainedTokenizerBase, candidates: Sequence[Encoded]) -> list[Encoded]:
    """BOS (or EOS) in front where the first token tells the candidates apart: it has a log-probability only behind another.

    Raises:
        ConfigError: the tokenizer has neither.
    """
    if len({candidate.ids[0] for candidate in candidates}) == 1 and all(candidate.start > 0 for candidate in candidates):
        return list(candidates)
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if first is None:
        raise ConfigError(
            f"{tokenizer.name_or_path}: candidates differ in their first token, which has no log-probability without one before it, "
            "and the tokenizer has neither BOS nor EOS. Put a text in front of the label."
        )
    return [
        replace(c, ids=(first, *c.ids), start=c.start + 1, stop=c.stop + 1, lead=c.lead + 1)
        for c in candidates
    ]  # fmt: skip


def cut_left(candidates: Sequence[Encoded], most: int | None, name: str) -> list[Encoded]:
    """The candidates of a question, all without the same number of tokens at the left, so that the longest has at most `most`.

    Raises:
        ConfigError: label and text behind it alone are longer.
    """
    surplus = max(len(candidate.ids) for candidate in candidates) - (most or 0)
    if most is None or surplus <= 0:
        return list(candidates)
    room = min(candidate.start - max(candidate.lead, 1) for candidate in candidates)
    if surplus > room:
        raise ConfigError(
            f"{name}: {surplus} of its tokens would have to be cut to fit into {most} positions, and only {max(room, 0)} stand before the "
            "label. Raise model.max_length, take a model with more positions, or a prompt with the label behind the text."
        )
    return [
        replace(c, ids=c.ids[: c.lead] + c.ids[c.lead + surplus :], start=c.start - surplus, stop=c.stop - surplus, cut=surplus)
        for c in candidates
    ]
