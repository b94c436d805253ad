"""The probe knows which models compute rows that join and leave."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from kinnari.models.toy import byte_tokenizer
from kinnari.serving.running_rows import PartlyRead, RunningRows, rows_are_exact
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from tests.kinnari.generation.test_sampler import CAUSAL
from tests.kinnari.serving.toys import toy_model

VOCABULARY = len(byte_tokenizer())
MORE = {
    "gemma3_text": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
                    "head_dim": 8, "sliding_window": 4},
    "qwen3": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
    "gpt_neox": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
}  # fmt: skip


def more(model_type: str):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, vocab_size=VOCABULARY, **MORE[model_type])).eval()


@pytest.mark.parametrize("model_type", [*CAUSAL, *MORE])
def test_models_of_keys_and_values_are_exact(model_type: str) -> None:
    model = more(model_type) if model_type in MORE else toy_model(model_type)
    assert rows_are_exact(model, VOCABULARY)


@pytest.mark.parametrize(("name", "exact"), [("xglm564m", True), ("bloomz560m", True), ("pangu350m", True), ("glm335m", False)])
def test_models_with_attention_of_their_own_are_asked_too(name: str, exact: bool) -> None:
    model, tokenizer = build.load_for_inference(compose([f"model={name}", "model.shrunk=true", "trainer.precision=32-true"]))
    assert rows_are_exact(model, len(tokenizer)) == exact


def test_a_model_that_keeps_a_state_is_not() -> None:
    config = AutoConfig.for_model("mamba", vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, state_size=4)
    assert not rows_are_exact(AutoModelForCausalLM.from_config(config).eval(), VOCABULARY)


def test_a_model_that_counts_columns_for_positions_is_not() -> None:
    class Counts(RunningRows):
        def step(self, tokens):
            self.lengths = [max(self.lengths)] * len(self.lengths)
            return super().step(tokens)

    from kinnari.serving import running_rows

    original = running_rows.RunningRows
    running_rows.RunningRows = Counts  # type: ignore[misc]
    try:
        assert not rows_are_exact(toy_model("gpt2"), VOCABULARY)
    finally:
        running_rows.RunningRows = original  # type: ignore[misc]


def test_a_prompt_read_in_parts_gives_the_logits_of_one_read_whole() -> None:
    rows, prompt = RunningRows(toy_model()), list(range(10, 60))
    whole, parts = PartlyRead(prompt), PartlyRead(prompt)
    with torch.inference_mode():
        expected = rows.read(whole, 99)
        assert [rows.read(parts, 20) for _ in range(2)] == [None, None]
        assert torch.allclose(rows.read(parts, 20), expected, atol=1e-5)
