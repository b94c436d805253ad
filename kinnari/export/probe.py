"""Texts on which two copies of a model are compared: several languages, rendered as the model was trained on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from kinnari.text.conversation import Conversation, Message
from kinnari.text.template import Renderer
from kinnari.text.tokens import SegmentEncoder, encode_conversations
from kinnari.text.truncation import Limits

ROW_TOKENS = 64
# (language, question, answer)
TEXTS = (
    ("en", "What happens to water when it freezes?", "It turns into ice, grows by about nine percent and so floats on the water below it."),
    ("th", "ทำไมท้องฟ้าจึงเป็นสีฟ้า", "เพราะอากาศกระเจิงแสงสีน้ำเงินมากกว่าแสงสีแดง เราจึงเห็นท้องฟ้าเป็นสีฟ้าในเวลากลางวัน"),
    ("ko", "김치는 어떻게 만드나요?", "배추를 소금에 절인 뒤 고춧가루와 마늘, 생강, 젓갈로 만든 양념을 버무려 며칠 동안 익힙니다."),
    ("zh", "为什么月亮会有圆缺?", "月亮绕着地球转,太阳照亮的那一半我们有时看得多,有时看得少,所以月亮看起来有圆有缺。"),
    ("ja", "日本で一番高い山は何ですか。", "富士山です。標高は三千七百七十六メートルで、静岡県と山梨県にまたがっています。"),
    ("en", "Write a Python function that adds the even numbers of a list.",
     "def add_even(numbers):\n    return sum(n for n in numbers if n % 2 == 0)"),
    ("fr", "Traduis en anglais : le chat dort sur la chaise.", "The cat is sleeping on the chair."),
    ("en", "A train leaves at 9:40 and arrives at 11:05. How long does it travel?",
     "From 9:40 to 10:40 is one hour, and to 11:05 another 25 minutes: 1 hour and 25 minutes."),
)  # fmt: skip


@dataclass(frozen=True)
class Probe:
    """Rows of token ids without padding.

    Attributes:
        rows: what a causal model, or an encoder, reads.
        decoder_rows: what the decoder of a seq2seq model reads, its start token first; None for a causal model.
    """

    rows: list[list[int]]
    decoder_rows: list[list[int]] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def inputs(self, i: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Arguments of a forward over row `i`: ids [1, T] int64."""
        found = {"input_ids": torch.tensor([self.rows[i]], device=device)}
        if self.decoder_rows is not None:
            found["decoder_input_ids"] = torch.tensor([self.decoder_rows[i]], device=device)
        return found


def make_probe(
    tokenizer: PreTrainedTokenizerBase,
    template: Renderer | None,
    *,
    decoder_start: int | None = None,
    conversations: Sequence[Conversation] = (),
    row_tokens: int = ROW_TOKENS,
) -> Probe:
    """A question and its answer in each of several languages, and what the caller adds, cut to `row_tokens` tokens each.

    Args:
        template: how the model was trained to read them; None writes question and answer one under the other.
        decoder_start: the decoder's first token, for a seq2seq model.
        conversations: more of them, such as held-out records.
    """
    asked = [*_own(), *conversations]
    if template is None:
        pairs = [_plain(tokenizer, conversation, decoder_start is not None) for conversation in asked]
    else:
        encoder, limits = SegmentEncoder(tokenizer), Limits(4 * row_tokens)
        records = encode_conversations(asked, encoder, template, limits, seq2seq=decoder_start is not None)
        kept = [record for record in records if not isinstance(record, str)]
        pairs = [_sides(list(r.input_ids), list(r.trained), decoder_start is not None) for r in kept]
    rows = [source[:row_tokens] for source, _ in pairs]
    if decoder_start is None:
        return Probe(rows)
    return Probe(rows, [[decoder_start, *target][:row_tokens] for _, target in pairs])


def _own() -> list[Conversation]:
    return [
        Conversation(
            messages=(Message("user", question), Message("assistant", answer)),
            record_id=f"probe:{i}",
            source="probe",
            language=language,
            licence="",
        )
        for i, (language, question, answer) in enumerate(TEXTS)
    ]


def _plain(tokenizer: PreTrainedTokenizerBase, conversation: Conversation, seq2seq: bool) -> tuple[list[int], list[int]]:
    question, answer = conversation.question.strip(), conversation.reference()
    if seq2seq:
        return list(tokenizer(question)["input_ids"]), list(tokenizer(answer)["input_ids"])
    return list(tokenizer(f"{question}\n{answer}")["input_ids"]), []


def _sides(ids: list[int], trained: list[bool], seq2seq: bool) -> tuple[list[int], list[int]]:
    if not seq2seq:
        return [int(i) for i in ids], []
    source = [int(token) for token, target in zip(ids, trained, strict=True) if not target]
    return source, [int(token) for token, target in zip(ids, trained, strict=True) if target]
