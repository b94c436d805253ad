"""Special tokens put right, tokens added, rows that begin as the mean, ids that agree."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from kinnari.errors import ConfigError
from kinnari.models.head import install_loss_head
from kinnari.models.load import load_model, load_tokenizer
from kinnari.models.source import model_source
from kinnari.models.toy import byte_tokenizer
from kinnari.models.vocabulary import add_tokens, check_vocabulary, grow_rows
from kinnari.strategies.tuning import Tuning, apply_tuning
from tests.kinnari.models.specs import LLAMA_TOY, t5_spec, toy_spec

KNOWN = len(byte_tokenizer())  # 262
NEW = ["<|user|>", "ขอบคุณครับ"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KINNARI_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(model_source(toy_spec()), tmp_path / "folder")


def edit(path, **changes):
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


# --- special tokens -------------------------------------------------------------------------------------------------------


def test_pad_token_is_the_tokenizers_own_then_the_specs_then_eos(folder):
    path = str(folder)
    assert load_tokenizer(toy_spec(toy=None, path=path, pad_token="<unk>")).pad_token == "<pad>"
    edit(folder / "tokenizer_config.json", pad_token=...)
    assert load_tokenizer(toy_spec(toy=None, path=path, pad_token="<unk>")).pad_token == "<unk>"
    assert load_tokenizer(toy_spec(toy=None, path=path)).pad_token == "</s>"
    with pytest.raises(ConfigError, match="size of the embedding"):
        load_tokenizer(toy_spec(toy=None, path=path, pad_token="[PAD]"))
    grown = load_tokenizer(toy_spec(toy=None, path=path, pad_token="[PAD]", add_tokens=["[PAD]"]))
    assert (grown.pad_token, grown.pad_token_id) == ("[PAD]", KNOWN)


def test_empty_special_tokens_of_early_llama_files_are_mended_and_ids_follow(folder, caplog):
    """As decapoda's conversion had them: empty in tokenizer_config.json, and 0, 1 where the vocabulary has <s>=1 and </s>=2."""
    edit(folder / "tokenizer_config.json", bos_token="", eos_token="", unk_token="", pad_token=...)
    edit(folder / "config.json", bos_token_id=0, eos_token_id=1, pad_token_id=-1)
    edit(folder / "generation_config.json", bos_token_id=0, eos_token_id=1, pad_token_id=0)
    spec = toy_spec(toy=None, path=str(folder))
    tokenizer, model = load_tokenizer(spec), load_model(spec, dtype=torch.float32)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id) == (1, 2, 3, 2)
    for settings in (model.config, model.generation_config):
        assert (settings.bos_token_id, settings.eos_token_id, settings.pad_token_id) == (1, 2, 2)
    assert "names no eos_token; it is '</s>' (id 2) now" in caplog.text
    assert "config.eos_token_id was 1; the tokenizer says 2" in caplog.text


def test_other_families_take_missing_tokens_from_the_ids_of_the_config(tmp_path):
    bloom = {"model_type": "gpt_neox", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    folder = shutil.copytree(model_source(toy_spec(toy=bloom)), tmp_path / "neox")
    edit(folder / "tokenizer_config.json", bos_token=..., eos_token=..., pad_token=...)
    edit(folder / "config.json", bos_token_id=4, eos_token_id=5)
    tokenizer = load_tokenizer(toy_spec(toy=None, path=str(folder)))
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<|im_start|>", "<|im_end|>", "<|im_end|>")


def test_a_list_of_eos_ids_that_holds_the_tokenizers_stays(folder):
    edit(folder / "generation_config.json", eos_token_id=[2, 5])
    assert load_model(toy_spec(toy=None, path=str(folder)), dtype=torch.float32).generation_config.eos_token_id == [2, 5]
    edit(folder / "generation_config.json", eos_token_id=[4, 5])
    assert load_model(toy_spec(toy=None, path=str(folder)), dtype=torch.float32).generation_config.eos_token_id == 2


def test_a_tokenizer_without_any_end_is_refused(folder):
    edit(folder / "tokenizer_config.json", eos_token=..., pad_token=..., bos_token=..., unk_token=...)
    edit(folder / "config.json", eos_token_id=None, model_type="gpt_neox")
    with pytest.raises(ConfigError, match="neither a pad nor an EOS token"):
        load_tokenizer(toy_spec(toy=None, path=str(folder)))


# --- added tokens ---------------------------------------------------------------------------------------------------------


def test_a_token_that_is_there_is_not_added_again_and_markup_is_special():
    tokenizer = byte_tokenizer()
    assert add_tokens(tokenizer, ["<unk>", *NEW, NEW[0]]) == [KNOWN, KNOWN + 1]
    assert tokenizer("<|user|>ขอบคุณครับ")["input_ids"] == [KNOWN, KNOWN + 1]
    assert tokenizer.decode([KNOWN, KNOWN + 1], skip_special_tokens=True) == "ขอบคุณครับ"
    with pytest.raises(ConfigError, match="empty token"):
        add_tokens(tokenizer, [" "])


FAMILIES = {
    "untied": toy_spec(add_tokens=NEW),
    "tied": toy_spec(toy={**LLAMA_TOY, "tie_word_embeddings": True}, add_tokens=NEW),
    "seq2seq_untied": t5_spec(toy={**t5_spec().toy, "tie_word_embeddings": False}, add_tokens=NEW),
    "seq2seq_tied": t5_spec(add_tokens=NEW),
    "head_with_bias": toy_spec(
        toy={"model_type": "phi", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2},
        add_tokens=NEW,
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_new_rows_are_the_mean_of_the_old_ones_which_stay(family, dtype):
    spec = FAMILIES[family]
    plain = load_model(toy_spec(**{**vars(spec), "add_tokens": []}), dtype=dtype)
    model, tokenizer = load_model(spec, dtype=dtype), load_tokenizer(spec)
    assert len(tokenizer) == KNOWN + 2 == model.config.vocab_size == model.get_input_embeddings().num_embeddings
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == (plain.lm_head.weight is plain.get_input_embeddings().weight)
    for get in ("get_input_embeddings", "get_output_embeddings"):
        old, new = getattr(plain, get)().weight, getattr(model, get)().weight
        assert new.dtype == dtype and torch.equal(new[:KNOWN], old)
        for row in new[KNOWN:]:
            torch.testing.assert_close(row, (old.float().sum(0) / KNOWN).to(dtype))
    if model.lm_head.bias is not None:
        torch.testing.assert_close(model.lm_head.bias[KNOWN:], plain.lm_head.bias.float().mean().to(dtype).expand(2))
    ids = torch.tensor([[6, KNOWN, KNOWN + 1]])
    extra = {"decoder_input_ids": ids} if spec.architecture == "seq2seq" else {}
    assert model(input_ids=ids, **extra).logits.shape == (1, 3, KNOWN + 2)


def test_rows_beyond_the_vocabulary_are_used_before_any_is_appended():
    padded = {**LLAMA_TOY, "vocab_size": KNOWN + 1}
    plain = load_model(toy_spec(toy=padded), dtype=torch.float32)
    one = load_model(toy_spec(toy=padded, add_tokens=NEW[:1]), dtype=torch.float32)
    assert one.get_input_embeddings().num_embeddings == KNOWN + 1
    mean = plain.lm_head.weight[:KNOWN].mean(0)
    torch.testing.assert_close(one.lm_head.weight[KNOWN], mean)  # the padding row plays no part in the mean
    two = load_model(toy_spec(toy=padded, add_tokens=NEW), dtype=torch.float32)
    assert two.get_input_embeddings().num_embeddings == KNOWN + 2
    torch.testing.assert_close(two.lm_head.weight[KNOWN:], mean.expand(2, -1))


def test_full_tuning_trains_new_rows_and_the_saved_folder_is_the_model(tmp_path):
    spec = toy_spec(add_tokens=NEW)
    tokenizer = load_tokenizer(spec)
    model = apply_tuning(load_model(spec, dtype=torch.float32), Tuning(name="full"), spec)
    head = install_loss_head(model)
    before = model.get_input_embeddings().weight.detach().clone()
    ids = tokenizer("<|user|>ขอบคุณครับ</s>", return_tensors="pt")["input_ids"]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    losses = []
    for _ in range(3):
        targets = torch.cat([ids[:, 1:], torch.full((1, 1), -100)], 1)
        with head.loss_of(targets):
            nll_sum = model(input_ids=ids, use_cache=False).logits[0]
        optimizer.zero_grad()
        nll_sum.backward()
        optimizer.step()
        losses.append(float(nll_sum))
    changed = (model.get_input_embeddings().weight.detach() != before).any(1).nonzero().flatten().tolist()
    assert changed == [KNOWN, KNOWN + 1] and losses[2] < losses[0]
    model.save_pretrained(tmp_path / "merged")
    tokenizer.save_pretrained(tmp_path / "merged")
    again = toy_spec(toy=None, path=str(tmp_path / "merged"), add_tokens=NEW)  # the setting may stay: the tokens are there now
    loaded = load_model(again, dtype=torch.float32)
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert load_tokenizer(again).get_vocab() == tokenizer.get_vocab()
    assert load_file(tmp_path / "merged" / "model.safetensors")["lm_head.weight"].shape[0] == KNOWN + 2


@pytest.mark.parametrize("name", ["lora", "qlora", "lora_int8"])
def test_adapters_do_not_train_rows_so_added_tokens_are_refused(name):
    spec = toy_spec(add_tokens=NEW)
    with pytest.raises(ConfigError, match="adapters leave the embedding frozen"):
        apply_tuning(load_model(spec, dtype=torch.float32), Tuning(name=name), spec)


def test_a_tokenizer_larger_than_the_embedding_is_refused(folder):
    model = load_model(toy_spec(), dtype=torch.float32)
    check_vocabulary(model, byte_tokenizer())
    larger = byte_tokenizer()
    larger.add_tokens(["[NEW]"])
    with pytest.raises(ConfigError, match="263 tokens"):
        check_vocabulary(model, larger)
    larger.save_pretrained(folder)
    with pytest.raises(ConfigError, match="263 tokens"):
        load_model(toy_spec(toy=None, path=str(folder)), dtype=torch.float32)


def test_the_mean_is_summed_in_float32():
    """In bfloat16 a sum of 262 equal numbers would stop growing at 256 of them."""
    model = load_model(toy_spec(), dtype=torch.bfloat16)
    with torch.no_grad():
        model.lm_head.weight.fill_(1.0)
    grow_rows(model, KNOWN, [KNOWN])
    assert torch.equal(model.lm_head.weight[KNOWN], torch.ones(64, dtype=torch.bfloat16))
