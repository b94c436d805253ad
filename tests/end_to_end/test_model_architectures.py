"""Once for every architecture among the model files: answers, packed rows, and what leaves loads with plain libraries, at toy size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from kinnari.errors import ConfigError
from kinnari.export.adapter import export_adapter
from kinnari.export.merged import export_merged
from kinnari.generation.sampler import answer_end, chat_prompts, generate
from kinnari.generation.settings import GenerationSettings
from kinnari.models.source import model_source
from kinnari.text.conversation import Message
from lightning_modules import CausalLMSFT
from tests.end_to_end.shrunk_models import WRITERS, batch, shrunk_spec, tokenizer_and_template, trained, tuned

SHAPES = [
    "bloomz560m", "byt5_small", "exaone4_1_2b", "falcon40b", "falcon7b", "flan_t5_small", "flan_t5_xxl", "galactica6_7b", "gemma2_2b",
    "gemma3_270m", "glm335m", "glm4_0414_9b", "glm4_9b", "llama2_70b", "llama2_7b", "llama3_1_8b", "llama3_2_1b", "llama65b", "mistral7b",
    "mt0_small", "mt5_xxl", "other", "pangu2_6b", "polyglot_ko_1_3b", "polyglot_ko_5_8b", "qwen2_5_0_5b", "qwen2_5_7b", "qwen3_0_6b",
    "qwen3_1_7b", "qwen3_8b", "smollm2_135m", "smollm2_1_7b", "smollm3_3b", "tiny_causal", "tiny_seq2seq", "xglm7b",
]  # fmt: skip
CAUSAL = [name for name in SHAPES if not name.startswith(("byt5", "flan_t5", "mt0", "mt5", "tiny_seq2seq"))]


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINNARI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def test_these_are_all_toys_that_the_model_files_make():
    assert {model_source(shrunk_spec(name)) for name in SHAPES} == {model_source(shrunk_spec(name)) for name in WRITERS}
    assert {name for name in SHAPES if shrunk_spec(name).architecture == "causal"} == set(CAUSAL)


@pytest.mark.parametrize("name", SHAPES)
def test_answers_do_not_depend_on_what_is_answered_beside_them(name):
    tokenizer, template = tokenizer_and_template(name)
    model, seq2seq = trained(name, "lora").module.model, shrunk_spec(name).architecture == "seq2seq"
    questions = [[Message("user", "Why?")], [Message("user", "เมืองหลวงของไทยชื่ออะไร")]]
    prompts = chat_prompts(tokenizer, template, questions, seq2seq=seq2seq)
    settings = GenerationSettings(max_new_tokens=6, batch_size=2)
    stop = answer_end(tokenizer, template, seq2seq=seq2seq)

    together = generate(model, tokenizer, prompts, settings, stop_id=stop)
    alone = [generate(model, tokenizer, [prompt], settings, stop_id=stop)[0] for prompt in prompts]

    assert [answer.token_ids for answer in together] == [answer.token_ids for answer in alone]
    assert all(1 <= len(answer.token_ids) <= 6 for answer in together)


@pytest.mark.parametrize("name", CAUSAL)
def test_packed_rows_have_the_loss_of_separate_ones(name):
    module = trained(name, "lora").module.eval()
    with torch.no_grad():
        separate = module(batch(name, ((0,), (1,), (2,))))
        packed = module(batch(name, ((2, 0), (1,)), packed=True))
        one_row = module(batch(name, ((0, 1, 2),), packed=True))

    assert float(packed[0]) == pytest.approx(float(separate[0]), rel=1e-4)
    assert float(one_row[0]) == pytest.approx(float(separate[0]), rel=1e-4)
    assert packed[1] == one_row[1] == separate[1]


def test_encoder_decoders_refuse_packed_rows():
    assert {shrunk_spec(name).packing for name in set(SHAPES) - set(CAUSAL)} == {"none"}
    module = CausalLMSFT(tuned("tiny_causal", "full"), packing="none")
    with pytest.raises(ConfigError, match="several records in one row"):
        module(batch("tiny_causal", ((0, 1),), packed=True))


@pytest.mark.parametrize("how", ["full", "lora", "qlora"])
@pytest.mark.parametrize("name", SHAPES)
def test_what_leaves_loads_with_plain_libraries_and_computes_the_same(name, how, tmp_path):
    tokenizer, _ = tokenizer_and_template(name)
    model: Any = tuned(name, how)
    shaken(model)
    expected = logits(model, name)
    auto: Any = AutoModelForSeq2SeqLM if shrunk_spec(name).architecture == "seq2seq" else AutoModelForCausalLM

    export_merged(model, tokenizer, tmp_path / "merged", dtype=torch.float32)
    merged = auto.from_pretrained(tmp_path / "merged").eval()

    assert (logits(merged, name) - expected).abs().max() < 1e-4
    assert AutoTokenizer.from_pretrained(tmp_path / "merged")("ไทย 한국").input_ids == tokenizer("ไทย 한국").input_ids
    if how == "lora":
        export_adapter(model, tokenizer, tmp_path / "adapter")
        base = auto.from_pretrained(model_source(shrunk_spec(name)))
        again = PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
        assert (logits(again, name) - expected).abs().max() < 1e-4


def shaken(model: Any) -> None:
    """Every trained number moved, so that no export is that of an untrained model."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)


def logits(model: Any, name: str) -> torch.Tensor:
    """[1, T, V] of the first record, without padding."""
    item = batch(name, ((0,),))
    ids = item["input_ids"][item["attention_mask"] == 1][None]
    inputs = {"input_ids": ids} | ({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {})
    with torch.no_grad():
        return model(**inputs).logits
