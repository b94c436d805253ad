"""Where the numbers of an answer's tokens stand in a batch."""

import torch

from kinnari.rollouts.rollout import Rollout, collate_rollouts, side_by_side, take_apart
from kinnari.text.prompts import Prompt


def rollout(prompt, answer, **numbers):
    made = Rollout(Prompt((), prompt, "r:0", ""), answer, "", finished=True)
    made.numbers = {name: torch.tensor(values) for name, values in numbers.items()}
    return made


ROLLOUTS = [rollout([5, 8, 3], [7, 4, 2], logprobs=[-1.0, -2.0, -3.0]), rollout([9], [6, 2], logprobs=[-4.0, -5.0])]


def test_a_causal_row_has_each_number_where_its_token_is_predicted():
    batch = collate_rollouts(ROLLOUTS, 0, seq2seq=False, step_tokens=5)

    assert batch["input_ids"].tolist() == [[5, 8, 3, 7, 4, 2, 0, 0], [9, 6, 2, 0, 0, 0, 0, 0]]
    assert batch["attention_mask"].sum(1).tolist() == [6, 3]
    assert batch["labels"].tolist() == [[-100, -100, -100, 7, 4, 2, -100, -100], [-100, 6, 2, -100, -100, -100, -100, -100]]
    assert batch["logprobs"].tolist() == [[0, 0, -1, -2, -3, 0, 0, 0], [-4, -5, 0, 0, 0, 0, 0, 0]]
    assert batch["step_tokens"] == 5 and "values" not in batch


def test_an_encoder_decoder_reads_the_prompt_and_says_the_answer():
    batch = collate_rollouts(ROLLOUTS, 0, seq2seq=True)

    assert batch["input_ids"][:, :3].tolist() == [[5, 8, 3], [9, 0, 0]]
    assert batch["labels"][:, :3].tolist() == [[7, 4, 2], [6, 2, -100]]
    assert batch["logprobs"][:, :3].tolist() == [[-1, -2, -3], [-4, -5, 0]]


def test_numbers_come_back_as_they_were_put_in():
    for seq2seq in (False, True):
        batch = collate_rollouts(ROLLOUTS, 0, seq2seq=seq2seq)
        apart = take_apart(batch["logprobs"], ROLLOUTS, seq2seq=seq2seq)
        assert [row.tolist() for row in apart] == [[-1, -2, -3], [-4, -5]]


def test_side_by_side_they_have_a_mask():
    values, mask = side_by_side(ROLLOUTS, "logprobs")

    assert values.tolist() == [[-1, -2, -3], [-4, -5, 0]] and mask.tolist() == [[True] * 3, [True, True, False]]
