"""Seq2seq records: the prompt goes to the encoder, the last answer is the decoder's target.

Both parts lie in one record, told apart by the loss mask: `input_ids[~trained]` is the encoder's input, ending in one EOS
as T5-family models were pre-trained with, and `input_ids[trained]` is the target, ending in one EOS. Neither gets a second.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation, Message
from kinnari.text.records import Tokens
from kinnari.text.template import Renderer, Segment, trained_turns
from kinnari.text.tokens import NO_ANSWER, EncodedRows, SegmentEncoder, readable_rows
from kinnari.text.truncation import TOO_LONG, Limits

_EOS = Segment("eos", "", False)


def source_segments(template: Renderer, messages: Sequence[Message]) -> list[Segment]:
    """What the encoder reads: the rendered prompt (earlier answers included, untrained) and one EOS.

    A template ends turns with a new line, to part them from what follows; nothing follows the last one.
    """
    segments = [Segment(s.kind, s.text, False) for s in template.render_prompt(messages) if s.kind != "eos"]
    while segments and segments[-1].kind in ("template", "opening"):
        last = segments.pop()
        if text := last.text.rstrip():
            segments.append(last._replace(text=text))
            break
    return [*segments, _EOS]


def encode_answered(encoder: SegmentEncoder, template: Renderer, conversations: Sequence[Sequence[Message]]) -> list[Tokens]:
    """Whole conversations that end in an answer, uncut, as `encode_seq2seq` lays them out; the answer may be empty.

    Raises:
        UnicodeEncodeError: a text holds half of a surrogate pair.
    """
    prompts = [source_segments(template, messages[:-1]) if messages[:-1] else [_EOS] for messages in conversations]
    read = encoder.encode_rows(prompts)
    said = encoder.encode_rows([_target(messages[-1].content) for messages in conversations])
    rows = [(read.row(i)[0], said.row(i)[0]) for i in range(len(conversations))]
    return [Tokens(np.concatenate(row), np.arange(len(row[0]) + len(row[1])) >= len(row[0])) for row in rows]


def _target(answer: str) -> list[Segment]:
    return [Segment("answer", answer, True), Segment("eos", "", True)]


def encode_seq2seq(
    conversations: Sequence[Conversation], encoder: SegmentEncoder, template: Renderer, limits: Limits, loss_on: str
) -> list[Tokens | str]:
    """See `kinnari.text.tokens.encode_conversations`; source and target have a limit each, EOS included.

    A source that is too long loses its beginning (the question is at its end) and keeps its EOS; a target that is too long
    loses its end and its EOS, and the record counts as cut.
    """
    if loss_on == "everything":
        raise ConfigError(
            "loss_on=everything cannot be had from an encoder-decoder: it reads the prompt and never predicts it. Use loss_on=answers."
        )
    if limits.truncation == "split":
        raise ConfigError("limits.truncation=split is for documents, which a causal model goes on with; use tail, longest_first or drop.")
    sources: list[list[Segment]] = []
    targets: list[list[Segment]] = []
    results: list[Tokens | str] = []
    for conversation in conversations:
        source, target, reason = _sides(template, conversation, loss_on)
        sources.append(source)
        targets.append(target)
        results.append(reason)
    read = readable_rows(encoder, sources, results)
    said = readable_rows(encoder, targets, results)
    return [result or _join(read, said, i, limits) for i, result in enumerate(results)]


def _sides(template: Renderer, conversation: Conversation, loss_on: str) -> tuple[list[Segment], list[Segment], str]:
    """Segments of source and target, or the reason why there is nothing to train."""
    answer = conversation.reference()
    prompt = conversation.prompt()
    try:
        if not answer or not trained_turns(conversation.messages, loss_on)[len(prompt)]:
            return [], [], NO_ANSWER
        # a document without a question (plain text) has an empty source
        source = source_segments(template, prompt) if prompt else [_EOS]
    except ConfigError as error:
        return [], [], str(error)
    return source, _target(answer), ""


def _join(read: EncodedRows, said: EncodedRows, i: int, limits: Limits) -> Tokens | str:
    (source, _), (target, _) = read.row(i), said.row(i)
    most_source, most_target = limits.sides(len(source), len(target))
    cut = most_source < len(source) or most_target < len(target)
    if cut and limits.truncation == "drop":
        return TOO_LONG
    kept = np.concatenate([source[len(source) - most_source :], target[:most_target]])
    return Tokens(kept, np.arange(len(kept)) >= most_source, cut=cut)
