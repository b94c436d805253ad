"""What a row holds counts, what stands left of it does not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LogitsProcessorList, NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

from kinnari.generation.said_before import SaidBefore
from kinnari.generation.sampler import generate
from kinnari.generation.settings import GenerationSettings
from kinnari.models.toy import byte_tokenizer
from tests.kinnari.generation.test_sampler import PROMPTS, TOKENIZER, greedy, toy

VOCABULARY = 6
rows_of_tokens = st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=9), min_size=1, max_size=4)


def padded(rows: list[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids padded on the left, and how many tokens of each row are padding."""
    width = max(map(len, rows)) + 2
    return torch.tensor([[pad] * (width - len(row)) + row for row in rows]), torch.tensor([width - len(row) for row in rows])


@given(rows_of_tokens, st.integers(0, VOCABULARY - 1), st.sampled_from([0.5, 1.0, 1.3]), st.integers(0, 3), st.integers(1, 3))
def test_a_padded_row_has_the_logits_of_the_row_alone(rows: list, pad: int, penalty: float, ngram: int, beams: int) -> None:
    scores = torch.randn(len(rows) * beams, VOCABULARY, generator=torch.Generator().manual_seed(len(rows)))
    alone = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(penalty)])
    if ngram:
        alone.append(NoRepeatNGramLogitsProcessor(ngram))
    expected = [alone(torch.tensor([rows[i // beams]]), scores[i : i + 1].clone())[0] for i in range(len(scores))]
    said = SaidBefore(GenerationSettings(repetition_penalty=penalty, no_repeat_ngram_size=ngram))
    ids, said.padding = padded(rows, pad)
    assert torch.equal(said(ids.repeat_interleave(beams, dim=0), scores.clone()), torch.stack(expected))


def test_padding_is_no_token_that_was_said() -> None:
    said = SaidBefore(GenerationSettings(repetition_penalty=2.0))
    ids, said.padding = padded([[3, 1], [3]], pad=0)
    assert said(ids, torch.tensor([[4.0, 4.0, 4.0, -4.0]] * 2)).tolist() == [[4.0, 2.0, 4.0, -8.0], [4.0, 4.0, 4.0, -8.0]]


def loop(model, prompt: list[int], rules: LogitsProcessorList, count: int) -> list[int]:
    """Greedy decoding of one row without padding, cache or the sampler."""
    ids = torch.tensor([prompt])
    for _ in range(count):
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[:, -1].float()
        ids = torch.cat([ids, rules(ids, logits).argmax(-1, keepdim=True)], dim=1)
        if ids[0, -1] == TOKENIZER.eos_token_id:
            break
    return ids[0, len(prompt) :].tolist()


@pytest.mark.parametrize("pads_with_eos", [True, False])
@pytest.mark.parametrize("ngram", [1, 2])
def test_a_batch_says_what_each_prompt_says_alone(pads_with_eos: bool, ngram: int) -> None:
    model, tokenizer = toy().eval(), byte_tokenizer()
    if pads_with_eos:
        tokenizer.pad_token = tokenizer.eos_token
    # The padding is nearly as likely as the likeliest token, so that a penalty for it would be seen.
    model.lm_head.register_forward_hook(lambda *step: _raised(step[2], tokenizer.pad_token_id))
    rules = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(1.5), NoRepeatNGramLogitsProcessor(ngram)])
    answers = generate(model, tokenizer, PROMPTS, greedy(repetition_penalty=1.5, no_repeat_ngram_size=ngram))
    alone = [loop(model, prompt, rules, 12) for prompt in PROMPTS]
    assert [answer.token_ids for answer in answers] == alone
    assert any(tokenizer.pad_token_id in said for said in alone)


def _raised(logits: torch.Tensor, token: int) -> torch.Tensor:
    logits[..., token] = 0.9 * logits.max(-1).values
    return logits
