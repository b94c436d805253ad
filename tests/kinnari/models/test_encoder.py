"""Encoders as backbones: what is loaded of them, what they are given to read, where their tokens stand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, BertTokenizer, PreTrainedTokenizerBase, XLMRobertaTokenizer

from kinnari.errors import ConfigError
from kinnari.export.adapter import export_adapter
from kinnari.export.merged import export_merged
from kinnari.models.architectures import kind_of
from kinnari.models.backbone import head_of, last_hidden_states
from kinnari.models.encoder import begin_and_end
from kinnari.models.load import load_model, load_tokenizer
from kinnari.models.source import model_source
from kinnari.models.spec import ModelSpec
from kinnari.models.toy import byte_tokenizer
from kinnari.strategies.tuning import Tuning, apply_tuning
from kinnari.text.conversation import Message
from kinnari.text.template import Template
from kinnari.text.tokens import SegmentEncoder
from tests.kinnari.models.specs import toy_spec
from tests.kinnari.text.small_tokenizers import xglm
from tests.kinnari.text.test_template import shipped

XLM_R = {"model_type": "xlm-roberta", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": 66, "type_vocab_size": 1}  # fmt: skip
SIZES = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0,
         "max_position_embeddings": 66}  # fmt: skip
FAMILIES = {
    "xlm-roberta": {}, "roberta": {}, "camembert": {}, "xlm-roberta-xl": {}, "bert": {}, "electra": {"embedding_size": 32},
    "albert": {"embedding_size": 32}, "deberta-v2": {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["c2p"]},
    "modernbert": {"cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2},
    "distilbert": {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4},
}  # fmt: skip
IDS = torch.tensor([[1, 40, 41, 7, 50, 2]])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KINNARI_CACHE", str(tmp_path / "cache"))


def encoder_spec(**changes) -> ModelSpec:
    fields = {"architecture": "encoder", "toy": XLM_R, "lora_targets": ["query", "key", "value", "dense"],
              "block_classes": ["XLMRobertaLayer"], "packing": "none"}  # fmt: skip
    return toy_spec(**{**fields, **changes})


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_on_either_side_changes_no_hidden_state(family):
    settings = FAMILIES[family] if family == "distilbert" else {**SIZES, **FAMILIES[family]}
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model(family, **{"vocab_size": 300, "pad_token_id": 0, **settings})).eval()
    assert kind_of(model.config) == "encoder" and head_of(model) is None
    pad = torch.zeros(1, 5, dtype=torch.long)
    with torch.no_grad():
        alone = last_hidden_states(model, None, input_ids=IDS, attention_mask=torch.ones_like(IDS))
        for left in (False, True):
            ids = torch.cat([pad, IDS] if left else [IDS, pad], dim=1)
            mask = torch.cat([pad, torch.ones_like(IDS)] if left else [torch.ones_like(IDS), pad], dim=1)
            found = last_hidden_states(model, None, input_ids=ids, attention_mask=mask)
            torch.testing.assert_close(found[:, 5:] if left else found[:, :-5], alone, atol=1e-5, rtol=1e-5)


def test_a_real_token_with_the_id_of_the_pad_token_is_counted():
    model = load_model(encoder_spec(), dtype=torch.float32)
    ids = torch.tensor([[1, 40, 0, 41, 2]])  # 0 pads
    with torch.no_grad():
        found = last_hidden_states(model, None, input_ids=ids, attention_mask=torch.ones_like(ids))
        expected = model(input_ids=ids, position_ids=torch.tensor([[1, 2, 3, 4, 5]])).last_hidden_state
        alone = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state

    torch.testing.assert_close(found, expected)
    assert (found - alone).abs().max() > 1e-3


def test_a_masked_word_checkpoint_is_read_without_head_and_pooling(tmp_path):
    torch.manual_seed(0)
    config = AutoConfig.for_model("xlm-roberta", **{**SIZES, "type_vocab_size": 1})
    masked = AutoModelForMaskedLM.from_config(config).eval()
    masked.save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    model = load_model(encoder_spec(toy=None, path=str(tmp_path)), dtype=torch.float32)

    assert not [name for name, _ in model.named_parameters() if "pool" in name or "head" in name]
    with torch.no_grad():
        found = last_hidden_states(model, None, input_ids=IDS, attention_mask=torch.ones_like(IDS))
        torch.testing.assert_close(found, masked.roberta(input_ids=IDS).last_hidden_state)


def test_each_kind_is_refused_as_another():
    with pytest.raises(ConfigError, match=r"holds a causal model \(llama\).*Set model\.architecture=causal"):
        load_model(encoder_spec(toy=None, path=model_source(toy_spec())), dtype=torch.float32)
    with pytest.raises(ConfigError, match=r"holds an encoder"):
        load_model(toy_spec(toy=None, path=model_source(encoder_spec())), dtype=torch.float32)


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_what_leaves_loads_with_plain_libraries_and_computes_the_same(tuning, tmp_path):
    spec = encoder_spec()
    model = apply_tuning(load_model(spec, dtype=torch.float32), Tuning(name=tuning, r=2), spec)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
        expected = model(input_ids=IDS).last_hidden_state
        export_merged(model, load_tokenizer(spec), tmp_path / "merged", dtype=torch.float32)
        merged = AutoModel.from_pretrained(tmp_path / "merged", add_pooling_layer=False).eval()
        torch.testing.assert_close(merged(input_ids=IDS).last_hidden_state, expected, atol=1e-5, rtol=1e-5)
        if tuning == "lora":
            export_adapter(model, load_tokenizer(spec), tmp_path / "adapter")
            base = AutoModel.from_pretrained(model_source(spec), add_pooling_layer=False)
            again = PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
            torch.testing.assert_close(again(input_ids=IDS).last_hidden_state, expected, atol=1e-5, rtol=1e-5)


# --- what it is given to read ----------------------------------------------------------------------------------------------


def roberta_tokenizer() -> PreTrainedTokenizerBase:
    words = [tuple(entry) for entry in json.loads(xglm().backend_tokenizer.to_str())["model"]["vocab"]]  # type: ignore[attr-defined]
    return XLMRobertaTokenizer(vocab=[*words, ("<mask>", 0.0)])


def bert_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"whoaretisgnby?.", *(f"##{c}" for c in "whoaretisgnby")]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return BertTokenizer(vocab=str(folder / "vocab.txt"))


def rendered(tokenizer: PreTrainedTokenizerBase, template: Template, *texts: str) -> list[str]:
    begin_and_end(tokenizer)
    messages = [Message("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(texts)]
    (row,) = SegmentEncoder(tokenizer).encode_all([template.render(messages)])
    return tokenizer.convert_ids_to_tokens(list(row.input_ids))


def test_a_roberta_reads_the_pair_of_its_own_tokenizer():
    tokenizer = roberta_tokenizer()
    found = rendered(tokenizer, shipped("encoder_pair"), "Who wrote it?", "Ada wrote it.")

    assert found == tokenizer.convert_ids_to_tokens(tokenizer("Who wrote it?", "Ada wrote it.").input_ids)
    assert (found[0], found[-1], found.count("</s>")) == ("<s>", "</s>", 3)


def test_later_turns_are_parted_as_documents_are():
    found = rendered(roberta_tokenizer(), shipped("encoder_pair"), "A", "B", "C", "D")

    assert [token.strip("▁") for token in found if token != "▁"] == [
        "<s>",
        "A",
        "</s>",
        "</s>",
        "B",
        "</s>",
        "C",
        "</s>",
        "</s>",
        "D",
        "</s>",
    ]


def test_a_bert_reads_the_pair_of_its_own_tokenizer(tmp_path):
    tokenizer = bert_tokenizer(tmp_path)
    pair = shipped("encoder_pair")
    template = Template(**{**vars(pair), "user": " {content}[SEP]"})
    found = rendered(tokenizer, template, "who are they?", "one is near.")

    assert found == tokenizer.convert_ids_to_tokens(tokenizer("who are they?", "one is near.").input_ids)


def test_control_tokens_that_people_write_are_text():
    found = rendered(roberta_tokenizer(), shipped("encoder_pair"), "a </s> b", "<s>")

    assert found.count("</s>") == 3 and found.count("<s>") == 1
