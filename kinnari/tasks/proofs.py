"""Proof, record by record, that the loss covers what the configuration says: the text is rendered again and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinnari.generation.sampler import answer_end
from kinnari.text.conversation import Conversation
from kinnari.text.seq2seq_tokens import source_segments
from kinnari.text.template import Renderer, Segment
from kinnari.text.tokens import SegmentEncoder, prompt_ids


@dataclass(frozen=True)
class StoredRecord:
    """A record as it will be trained on: ids [T] and whether each is a target [T], beside the conversation it was made of."""

    conversation: Conversation
    ids: np.ndarray
    trained: np.ndarray


@dataclass(frozen=True)
class Proofs:
    """What was found.

    Attributes:
        checked: records looked at.
        cut: ids of those that lost tokens to a limit.
        with_end: records with at least one trained end of an answer (EOS, or what the template ends answers with).
        failures: one sentence per broken rule.
    """

    checked: int
    cut: list[str]
    with_end: int
    failures: list[str]


@dataclass(frozen=True)
class _Expected:
    """The record as it would be without limits, made by rendering again."""

    ids: np.ndarray
    trained: np.ndarray
    prompt: list[int]
    ends: int  # trained ends of answers

    @property
    def length(self) -> int:
        """Tokens up to the last trained one; what comes after may be missing without loss."""
        places = np.flatnonzero(self.trained)
        return int(places[-1]) + 1 if len(places) else 0


def prove(
    records: Sequence[StoredRecord], encoder: SegmentEncoder, template: Renderer, loss_on: str = "answers", seq2seq: bool = False
) -> Proofs:
    """Check the rules for every record.

    1. A record has at least one trained token.
    2. Every trained answer ends in its trained end token, unless the record was cut.
    3. The trained tokens are those that `loss_on` and the marks of the turns say; a cut record is one stretch of the whole.
    4. Unless all was asked for, something is not trained where there is a prompt.
    5. The prompt that generation would use is what comes before the answer, token for token.
    """
    end = answer_end(encoder.tokenizer, template, seq2seq=seq2seq)
    expected = _expected_seq2seq(records, encoder, template) if seq2seq else _expected(records, encoder, template, loss_on)
    cut, failures, with_end = [], [], 0
    for record, whole in zip(records, expected, strict=True):
        is_cut = len(record.ids) < whole.length
        if is_cut:
            cut.append(record.conversation.record_id)
        with_end += bool((record.ids[record.trained] == end).any())
        problems = [_nothing_trained(record), _unfinished_answer(record, whole, is_cut, end), _all_trained(record, loss_on)]
        problems += (
            [_other_source(record, whole)] if seq2seq else [_other_mask(record, whole, is_cut), _other_prompt(record, whole, is_cut)]
        )
        failures += [f"{record.conversation.record_id}: {problem}" for problem in problems if problem]
    return Proofs(len(records), cut, with_end, failures)


def prove_members(data: Any, members: Sequence[int]) -> Proofs:
    """`prove` for training records `members` of a datamodule that is set up."""
    records = [StoredRecord(data.train_conversations[i], *data.train_records[i]) for i in members]
    return prove(records, SegmentEncoder(data.tokenizer), data.template, data.loss_on, data.seq2seq)


def _expected(records: Sequence[StoredRecord], encoder: SegmentEncoder, template: Renderer, loss_on: str) -> list[_Expected]:
    rendered = [template.render(r.conversation.messages, loss_on) for r in records]
    wholes = encoder.encode_all(rendered)
    prompts = prompt_ids(encoder, template, [r.conversation.prompt() for r in records])
    ends = [sum(s.kind == "eos" and s.trained for s in segments) for segments in rendered]
    return [
        _Expected(np.asarray(whole.input_ids), np.asarray(whole.trained, dtype=bool), prompt, count)
        for whole, prompt, count in zip(wholes, prompts, ends, strict=True)
    ]


def _expected_seq2seq(records: Sequence[StoredRecord], encoder: SegmentEncoder, template: Renderer) -> list[_Expected]:
    eos = Segment("eos", "", True)
    sources = encoder.encode_all([source_segments(template, r.conversation.prompt()) for r in records])
    targets = encoder.encode_all([[Segment("answer", r.conversation.reference(), True), eos] for r in records])
    pairs = [(np.asarray(s.input_ids), np.asarray(t.input_ids)) for s, t in zip(sources, targets, strict=True)]
    return [_Expected(np.concatenate([s, t]), np.arange(len(s) + len(t)) >= len(s), s.tolist(), 1) for s, t in pairs]


def _nothing_trained(record: StoredRecord) -> str | None:
    return None if record.trained.any() else "no token is trained"


def _unfinished_answer(record: StoredRecord, whole: _Expected, is_cut: bool, end: int) -> str | None:
    if is_cut or int((record.ids[record.trained] == end).sum()) == whole.ends:
        return None
    return f"an answer does not end in the trained end token {end}, so the model would not learn to stop"


def _all_trained(record: StoredRecord, loss_on: str) -> str | None:
    asked = any(m.content and m.role != "assistant" and not m.trained for m in record.conversation.messages)
    if loss_on == "everything" or not asked or not record.trained[1:].all():
        return None
    return f"every token is trained, the prompt too, although loss_on={loss_on}"


def _other_mask(record: StoredRecord, whole: _Expected, is_cut: bool) -> str | None:
    if not is_cut:
        same = record.trained[1 : whole.length].tolist() == whole.trained[1 : whole.length].tolist()
        return None if same else "the trained tokens are not those that loss_on says"
    stored, full = record.ids.astype(np.int32), whole.ids.astype(np.int32)
    # a cut in the prompt keeps BOS and goes on further right
    stretches = [stored, stored[1:]] if len(stored) > 1 and stored[0] == full[0] else [stored]
    return None if any(_stretch_of(part, full) for part in stretches) else "the cut record is not a stretch of its conversation"


def _stretch_of(part: np.ndarray, whole: np.ndarray) -> bool:
    places = np.flatnonzero(whole[: len(whole) - len(part) + 1] == part[0])
    return any(np.array_equal(whole[p : p + len(part)], part) for p in places)


def _other_prompt(record: StoredRecord, whole: _Expected, is_cut: bool) -> str | None:
    if is_cut or record.ids[: len(whole.prompt)].tolist() == whole.prompt:
        return None
    return "the prompt used for generation is not the beginning of the trained record"


def _other_source(record: StoredRecord, whole: _Expected) -> str | None:
    source = record.ids[~record.trained].tolist()
    if source == whole.prompt[len(whole.prompt) - len(source) :]:
        return None
    return "the prompt used for generation is not what the encoder is trained to read"
