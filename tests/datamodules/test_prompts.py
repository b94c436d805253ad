"""Prompts for rollouts."""

from dataclasses import dataclass

import pytest

from datamodules.prompts import PromptDataModule, PromptDataset, first_tokens
from kinnari.errors import ConfigError
from kinnari.models.toy import byte_tokenizer
from kinnari.text.conversation import Conversation, Message
from kinnari.text.prompts import Prompt
from tests.datamodules.test_instruction import Fake
from tests.kinnari.text.test_template import chatml

PROMPTS = [Prompt((), [i], f"r:{i}", "") for i in range(7)]


@pytest.mark.parametrize("world_size", [1, 2])
def test_every_prompt_is_asked_once_before_any_is_asked_again(world_size):
    ranks = [PromptDataset(PROMPTS, 4, seed=1, rank=rank, world_size=world_size) for rank in range(world_size)]
    asked = [
        p.token_ids[0] for iteration in range(7) for place in range(4 // world_size) for p in [r[iteration].prompts[place] for r in ranks]
    ]

    assert all(sorted(asked[i : i + 7]) == list(range(7)) for i in range(0, 28, 7))
    assert asked[:7] != asked[7:14]


def test_ranks_have_shares_of_the_same_iteration():
    whole = PromptDataset(PROMPTS, 4, seed=1, rank=0, world_size=1)
    halves = [PromptDataset(PROMPTS, 4, seed=1, rank=rank, world_size=2) for rank in (0, 1)]

    assert [p.record_id for p in whole[3].prompts][0::2] == [p.record_id for p in halves[0][3].prompts]
    assert [p.record_id for p in whole[3].prompts][1::2] == [p.record_id for p in halves[1][3].prompts]


def prompts_of(**options) -> PromptDataModule:
    source = Fake(name="a rather long name of a source", count=30)
    sizes = {"max_length": 256, "held_out_fraction": 0.2, "prompts_per_iteration": 4}
    data = PromptDataModule({"a": source}, byte_tokenizer(), chatml(), **sizes, **options)
    data.setup()
    return data


def test_questions_are_cut_at_a_length_drawn_for_each_and_asked_as_they_are_then():
    whole, data = prompts_of(), prompts_of(query_tokens=[5, 9])
    questions = [p.messages[-1].content for p in data.prompts]

    assert {len(q) for q in questions} <= set(range(4, 10)) and len({len(q) for q in questions}) > 3  # a space at the end is dropped
    for prompt, asked in zip(data.prompts, whole.prompts, strict=True):
        cut, full = prompt.messages[-1].content, asked.messages[-1].content
        assert full.startswith(cut) and (prompt.record_id, prompt.reference) == (asked.record_id, asked.reference)
        assert data.tokenizer.decode(prompt.token_ids) == whole.tokenizer.decode(asked.token_ids).replace(full, cut)
    assert all(len(p.messages[-1].content) <= 9 for p in data.held_out_asked)
    assert questions == [p.messages[-1].content for p in prompts_of(query_tokens=[5, 9]).prompts]


def test_a_question_shorter_than_its_draw_stays_whole():
    assert [p.messages for p in prompts_of(query_tokens=[500, 900]).prompts] == [p.messages for p in prompts_of().prompts]


@pytest.mark.parametrize("count", range(1, 12))
def test_no_character_is_cut_in_half(count):
    text = "กa한🙂b"  # 3, 1, 3, 4 and 1 bytes, a token each
    cut = first_tokens(byte_tokenizer(), text, count)

    assert text.startswith(cut) and "\ufffd" not in cut
    assert cut == "ก" or len(cut.encode()) <= count


def test_slow_tokenizers_cut_like_fast_ones():
    class Slow:
        is_fast = False

        def __call__(self, text, add_special_tokens):
            return {"input_ids": list(text.encode())}

        def decode(self, ids):
            return bytes(ids).decode(errors="replace")

    for count in range(1, 12):
        assert first_tokens(Slow(), "กa한🙂b", count) == first_tokens(byte_tokenizer(), "กa한🙂b", count)


@pytest.mark.parametrize("given", [[0, 4], [5, 4], [4]])
def test_lengths_that_are_no_range_are_refused(given):
    with pytest.raises(ConfigError, match="query_tokens"):
        prompts_of(query_tokens=given)


@dataclass(frozen=True, kw_only=True)
class Given(Fake):
    """Conversations as they are given: turns of user and assistant, or an answer alone, as documents are read."""

    turns: tuple[tuple[str, ...], ...]

    def read(self):
        for n, texts in enumerate(self.turns):
            roles = ("user", "assistant") if len(texts) > 1 else ("assistant",)
            messages = tuple(Message(roles[i % 2 if len(texts) > 1 else 0], text) for i, text in enumerate(texts))
            yield Conversation(messages=messages, record_id=f"a:{n}", source="a", language="en", licence="MIT")


def asking(*turns: tuple[str, ...], **options) -> PromptDataModule:
    data = PromptDataModule({"a": Given(name="a", count=0, turns=turns)}, byte_tokenizer(), chatml(), max_length=256,
                            held_out_fraction=None, held_out_most=0, prompts_per_iteration=2, **options)  # fmt: skip
    data.setup()
    return data


def test_a_question_asked_again_is_one_prompt_and_counted():
    data = asking(("A?", "1"), ("A?", "2"), ("B?", "3"))

    assert [(p.messages[-1].content, p.reference) for p in data.prompts] == [("A?", "1"), ("B?", "3")]
    assert data.prompt_counts() == {"train": 2, "held_out": 0, "without_question": 0, "asked_again": 1, "too_long": 0}


def test_texts_that_ask_nothing_are_left_out_and_alone_refused():
    counts = asking(("A?", "1"), ("a text",)).prompt_counts()
    assert (counts["train"], counts["without_question"]) == (1, 1)
    with pytest.raises(ConfigError, match="a asks nothing"):
        asking(("a text",), ("another",))


def test_a_prompt_as_long_as_the_limit_stays_and_one_token_more_goes():
    lengths = sorted(len(p.token_ids) for p in asking(("A?", "1"), ("AB?", "1")).prompts)
    data = asking(("A?", "1"), ("AB?", "1"), longest_prompt=lengths[0])

    assert lengths[1] == lengths[0] + 1 and [len(p.token_ids) for p in data.prompts] == lengths[:1]
    assert data.prompt_counts()["too_long"] == 1
    with pytest.raises(ConfigError, match=f"at most {lengths[0] - 1} tokens \\(the shortest has {lengths[0]}\\)"):
        asking(("A?", "1"), longest_prompt=lengths[0] - 1)
