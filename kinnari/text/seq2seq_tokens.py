"""Seq2seq records: the prompt goes to the encoder, the last answer is the decoder's target.

Both parts lie in one record, told apart by the loss mask: `input_ids[~trained]` is the encoder's input, ending in one EOS
as T5-family models were pre-trained with, and `input_ids[trained]` is the target, ending in one EOS. Neither gets a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kinnari.text.conversation import Conversation
from kinnari.text.records import TokenizedRecords, Tokens, flatten
from kinnari.text.template import Segment, Template
from kinnari.text.tokens import SegmentEncoder

_EOS = Segment("eos", "", False)


def source_segments(template: Template, messages: Sequence) -> list[Segment]:
    """What the encoder reads: the rendered prompt (earlier answers included, untrained) and one EOS."""
    segments = [Segment(s.kind, s.text, False) for s in template.render_prompt(messages) if s.kind != "eos"]
    return [*segments, _EOS]


def tokenize_seq2seq(
    conversations: Sequence[Conversation],
    encoder: SegmentEncoder,
    template: Template,
    max_length: int,
    on_progress: Callable[[int], None] = lambda done: None,
) -> TokenizedRecords:
    """Tokenise records for an encoder-decoder; source and target may each have `max_length` tokens, EOS included.

    A source that is too long loses its beginning (the question is at its end) and keeps its EOS; a target that is too long
    loses its end and its EOS, and the record counts as cut.
    """
    kept: list[Tokens] = []
    ids: list[str] = []
    sources: list[str] = []
    dropped: dict[str, str] = {}
    for start in range(0, len(conversations), 1000):
        chunk = conversations[start : start + 1000]
        prompts = encoder.encode_all([source_segments(template, c.prompt()) for c in chunk])
        answers = encoder.encode_all([[Segment("answer", c.reference(), True), Segment("eos", "", True)] for c in chunk])
        for record, prompt, answer in zip(chunk, prompts, answers, strict=True):
            if not record.reference():
                dropped[record.record_id] = "the record has no answer to train on"
                continue
            kept.append(_join(prompt, answer, max_length))
            ids.append(record.record_id)
            sources.append(record.source)
        on_progress(start + len(chunk))
    return flatten(kept, ids, sources, dropped)


def _join(prompt: Tokens, answer: Tokens, max_length: int) -> Tokens:
    source = prompt.input_ids[-max_length:]
    target = answer.input_ids[:max_length]
    cut = len(source) < len(prompt.input_ids) or len(target) < len(answer.input_ids)
    return Tokens(source + target, [False] * len(source) + [True] * len(target), cut=cut)
