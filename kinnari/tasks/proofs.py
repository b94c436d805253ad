"""Proof, record by record, that the trained tokens are the answers: the text is rendered again and compared with what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinnari.text.conversation import Conversation
from kinnari.text.records import TokenizedRecords
from kinnari.text.seq2seq_tokens import source_segments
from kinnari.text.template import Segment, Template
from kinnari.text.tokens import SegmentEncoder, prompt_ids


@dataclass(frozen=True)
class Proofs:
    """What was found.

    Attributes:
        checked: records looked at.
        cut: ids of those that lost tokens to max_length.
        failures: one sentence per broken rule.
    """

    checked: int
    cut: list[str]
    failures: list[str]


@dataclass(frozen=True)
class _Record:
    conversation: Conversation
    ids: np.ndarray
    trained: np.ndarray


def prove(
    records: TokenizedRecords,
    members: Sequence[int],
    conversations: Sequence[Conversation],
    encoder: SegmentEncoder,
    template: Template,
    seq2seq: bool,
) -> Proofs:
    """Check the rules for the records `members` (indexes into `records`).

    1. A record has at least one trained token.
    2. Every answer ends in a trained EOS, unless the record was cut there.
    3. The prompt that generation would use is what comes before the answer, token for token.
    """
    by_id = {c.record_id: c for c in conversations}
    chosen = [_Record(by_id[records.record_ids[i]], *records[i]) for i in members]
    whole = _whole_lengths(chosen, encoder, template, seq2seq)
    prompts = _prompts(chosen, encoder, template, seq2seq)
    eos = int(encoder.tokenizer.eos_token_id)
    cut, failures = [], []
    for record, length, prompt in zip(chosen, whole, prompts, strict=True):
        is_cut = length > len(record.ids)
        if is_cut:
            cut.append(record.conversation.record_id)
        problems = [_nothing_trained(record), _unfinished_answer(record, is_cut, eos), _other_prompt(record, prompt, seq2seq)]
        failures += [f"{record.conversation.record_id}: {problem}" for problem in problems if problem]
    return Proofs(len(chosen), cut, failures)


def _whole_lengths(chosen: list[_Record], encoder: SegmentEncoder, template: Template, seq2seq: bool) -> list[int]:
    """Tokens of each record before any cut."""
    if not seq2seq:
        return [len(t.input_ids) for t in encoder.encode_all([template.render(r.conversation.messages) for r in chosen])]
    sources = encoder.encode_all([source_segments(template, r.conversation.prompt()) for r in chosen])
    answers = encoder.encode_all([[Segment("answer", r.conversation.reference(), True)] for r in chosen])
    return [len(s.input_ids) + len(a.input_ids) + 1 for s, a in zip(sources, answers, strict=True)]


def _prompts(chosen: list[_Record], encoder: SegmentEncoder, template: Template, seq2seq: bool) -> list[list[int]]:
    messages = [r.conversation.prompt() for r in chosen]
    if seq2seq:
        return [t.input_ids for t in encoder.encode_all([source_segments(template, m) for m in messages])]
    return prompt_ids(encoder, template, messages)


def _nothing_trained(record: _Record) -> str | None:
    return None if record.trained.any() else "no token is trained"


def _unfinished_answer(record: _Record, is_cut: bool, eos: int) -> str | None:
    ends = answer_ends(record.trained)
    if is_cut and len(ends) and ends[-1] == len(record.ids) - 1:
        ends = ends[:-1]
    if all(record.ids[end] == eos for end in ends):
        return None
    return f"an answer does not end in the trained EOS token {eos}, so the model would not learn to stop"


def _other_prompt(record: _Record, prompt: list[int], seq2seq: bool) -> str | None:
    if seq2seq:
        source = record.ids[~record.trained].tolist()
        same = source == prompt[len(prompt) - len(source) :]
    else:
        same = record.ids[: len(prompt)].tolist() == prompt[: len(record.ids)]
    return None if same else "the prompt used for generation is not the beginning of the trained record"


def answer_ends(trained: np.ndarray) -> list[int]:
    """Positions of the last token of every run of trained ones: [0 1 1 0 1] -> [2, 4]."""
    after = np.append(trained[1:], False)
    return np.flatnonzero(trained & ~after).tolist()
