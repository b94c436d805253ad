"""One token after another, as transformers chooses them."""

from __future__ import annotations

import pytest
import torch

from kinnari.generation.penalties import Penalties
from kinnari.generation.settings import GenerationSettings
from kinnari.serving.token_choice import TokenChoice

PROMPT = [1, 5, 6]


def choice(seed: int = 0, penalties: Penalties | None = None, **settings) -> TokenChoice:
    return TokenChoice(GenerationSettings(**settings), PROMPT, [2], seed=seed, penalties=penalties)


def test_greedy_takes_the_largest() -> None:
    plain = choice()
    assert plain.most_likely
    assert plain(torch.tensor([0.0, 3.0, 5.0, 1.0, 0, 0, 0, 0]), []) == 2


def test_the_end_is_forbidden_before_its_time() -> None:
    logits = torch.tensor([0.0, 3.0, 5.0, 1.0, 0, 0, 0, 0])
    waiting = choice(min_new_tokens=2)
    assert [waiting(logits, said) for said in ([], [1], [1, 1])] == [1, 1, 2]


def test_repetition_counts_the_prompt_and_the_answer() -> None:
    logits = torch.tensor([0.0, 1.0, 0.0, 0.9, 0, 2.0, 0, 0.95])
    assert choice(repetition_penalty=4.0)(logits, [7]) == 3  # 5 and 1 are in the prompt, 7 was said


def test_an_ngram_of_the_prompt_does_not_come_again() -> None:
    logits = torch.tensor([0.0, 0, 0, 1.0, 0, 0, 2.0, 0])
    assert choice(no_repeat_ngram_size=2)(logits, [5]) == 3  # 5 6 stands in the prompt


def test_penalties_are_of_the_answer_alone() -> None:
    logits = torch.tensor([0.0, 0, 0, 1.0, 0, 2.0, 0, 0])
    penalised = choice(penalties=Penalties(len(PROMPT), presence=1.5))
    assert [penalised(logits, said) for said in ([], [5])] == [5, 3]


@pytest.mark.parametrize("settings", [{}, {"top_k": 2}, {"top_p": 0.6}, {"temperature": 0.5}])
def test_samples_have_the_asked_distribution(settings: dict) -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, 0.5])
    expected = (logits / settings.get("temperature", 1.0)).softmax(-1)
    if settings.get("top_k"):
        expected = torch.where(expected >= expected.sort().values[-2], expected, 0.0)
    if settings.get("top_p"):
        expected = torch.tensor([0.0, expected[1], expected[2], 0.0])  # 0.58 and 0.21 are the fewest that reach 0.6
    expected = expected / expected.sum()
    sampling = choice(do_sample=True, seed=1, **settings)
    drawn = torch.bincount(torch.tensor([sampling(logits, []) for _ in range(1500)]), minlength=4) / 1500
    assert torch.allclose(drawn, expected, atol=0.05)


def test_draws_of_one_request_do_not_touch_those_of_another() -> None:
    logits = torch.zeros(8)
    first, again, other = choice(3, do_sample=True), choice(3, do_sample=True), choice(4, do_sample=True)
    alone = [first(logits, []) for _ in range(10)]
    mixed = [(again(logits, []), other(logits, []), torch.rand(1))[0] for _ in range(10)]
    assert alone == mixed
