"""A shrunk model keeps what makes its architecture, and nothing of its size."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM

from kinnari.errors import ConfigError
from kinnari.models.load import load_model, load_tokenizer
from kinnari.models.shrink import HEADS, HIDDEN, architecture_config, shrink
from kinnari.models.toy import build_toy
from tests.kinnari.models.specs import toy_spec

QWEN3_8B = {"model_type": "qwen3", "hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
            "intermediate_size": 12288, "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": False}  # fmt: skip
GEMMA3_1B = {"model_type": "gemma3_text", "hidden_size": 1152, "num_hidden_layers": 26, "num_attention_heads": 4, "head_dim": 256,
             "num_key_value_heads": 1, "intermediate_size": 6912, "vocab_size": 262144, "sliding_window": 512,
             "sliding_window_pattern": 6}  # fmt: skip
FLAN_T5_SMALL = {"model_type": "t5", "d_model": 512, "d_ff": 1024, "num_layers": 8, "num_heads": 6, "d_kv": 64, "vocab_size": 32128,
                 "feed_forward_proj": "gated-gelu", "decoder_start_token_id": 0, "tie_word_embeddings": False}  # fmt: skip


def shrunk(config, **changes):
    return toy_spec(toy=None, path="hub/model", config=config, shrunk=True, **changes)


def test_a_pure_function_of_the_published_shapes():
    before = copy.deepcopy(QWEN3_8B)
    assert shrink(QWEN3_8B, 262) == shrink(QWEN3_8B, 262)
    assert before == QWEN3_8B


def test_sizes_are_a_toys_and_everything_else_stays():
    toy = shrink(QWEN3_8B, 262)
    assert toy == {"model_type": "qwen3", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
                   "intermediate_size": 128, "head_dim": 16, "vocab_size": 262, "tie_word_embeddings": False,
                   "layer_types": ["full_attention", "full_attention"]}  # fmt: skip
    assert sum(p.numel() for p in AutoModelForCausalLM.from_config(architecture_config(toy)).parameters()) < 200_000


@pytest.mark.parametrize(("heads", "key_heads", "expected"), [(32, 32, HEADS), (32, 8, HEADS // 2), (32, 1, 1), (4, 1, 1)])
def test_key_heads_stay_one_few_or_all(heads, key_heads, expected):
    assert shrink({**QWEN3_8B, "num_attention_heads": heads, "num_key_value_heads": key_heads}, 262)["num_key_value_heads"] == expected


def test_falcons_two_ways_of_sharing_key_heads():
    shapes = {"model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71, "multi_query": True}
    seven = architecture_config(shrink(shapes, 262))
    forty = {**shapes, "hidden_size": 8192, "num_attention_heads": 128, "num_kv_heads": 8, "new_decoder_architecture": True}
    assert seven.multi_query and not seven.new_decoder_architecture and "num_kv_heads" not in shrink(shapes, 262)
    assert shrink(forty, 262)["num_kv_heads"] == 2


def test_heads_wider_than_their_share_stay_wider():
    share = HIDDEN // HEADS
    assert shrink(QWEN3_8B, 262)["head_dim"] == share
    assert shrink({**QWEN3_8B, "hidden_size": 2560}, 262)["head_dim"] == 2 * share
    assert shrink(FLAN_T5_SMALL, 262)["d_kv"] == 2 * share
    assert shrink({**FLAN_T5_SMALL, "num_heads": 8}, 262)["d_kv"] == share


def test_one_layer_of_each_kind_stays():
    gemma = shrink(GEMMA3_1B, 262)
    assert gemma["layer_types"] == ["sliding_attention", "full_attention"] and gemma["sliding_window"] == 16
    smollm = {"model_type": "smollm3", "hidden_size": 2048, "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 4}
    assert shrink(smollm, 262)["no_rope_layers"] == [1, 0]


def test_a_deeper_encoder_stays_deeper():
    byt5 = {**FLAN_T5_SMALL, "num_layers": 12, "num_decoder_layers": 4}
    assert (shrink(byt5, 262)["num_layers"], shrink(byt5, 262)["num_decoder_layers"]) == (3, 2)
    assert architecture_config(shrink(FLAN_T5_SMALL, 262)).num_decoder_layers == 2


def test_positions_and_rotation_stay():
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192}  # fmt: skip
    llama = {"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
             "max_position_embeddings": 131072, "rope_parameters": rope}  # fmt: skip
    toy = shrink(llama, 262)
    assert (toy["rope_parameters"], toy["max_position_embeddings"]) == (rope, 131072)


def test_a_head_of_its_own_is_kept_where_the_config_class_would_tie_it(tmp_path, monkeypatch):
    monkeypatch.setenv("KINNARI_CACHE", str(tmp_path))
    spec = shrunk(FLAN_T5_SMALL, architecture="seq2seq", packing="none", block_classes=["T5Block"])
    model, loaded = build_toy(spec, 0)[0], load_model(spec, dtype=torch.float32)
    for own in (model, loaded):
        assert own.get_output_embeddings().weight is not own.get_input_embeddings().weight
    assert torch.equal(model.lm_head.weight, loaded.lm_head.weight)


@pytest.mark.parametrize("add", [["<new>"], ["<new>", "<other>"]])
def test_added_tokens_leave_the_other_rows_of_such_a_head_alone(tmp_path, monkeypatch, add):
    monkeypatch.setenv("KINNARI_CACHE", str(tmp_path))
    spec = shrunk(FLAN_T5_SMALL, architecture="seq2seq", packing="none", block_classes=["T5Block"])
    plain = load_model(spec, dtype=torch.float32)
    grown = load_model(shrunk(FLAN_T5_SMALL, architecture="seq2seq", packing="none", add_tokens=add), dtype=torch.float32)
    assert torch.equal(grown.lm_head.weight[:262], plain.lm_head.weight)
    assert torch.allclose(grown.lm_head.weight[262:], plain.lm_head.weight.mean(0).expand(len(add), -1), atol=1e-6)


def test_the_pad_rule_of_the_published_model_holds_for_its_toy(tmp_path, monkeypatch):
    monkeypatch.setenv("KINNARI_CACHE", str(tmp_path))
    assert load_tokenizer(shrunk(QWEN3_8B, pad_token="<unk>")).pad_token == "<unk>"
    reserved = load_tokenizer(shrunk(QWEN3_8B, pad_token="<|finetune_right_pad_id|>"))
    assert (reserved.pad_token, reserved.pad_token_id, len(reserved)) == ("<|finetune_right_pad_id|>", 262, 263)
    assert load_tokenizer(shrunk(QWEN3_8B)).pad_token == "<pad>"


def test_a_file_without_published_shapes_cannot_be_shrunk():
    with pytest.raises(ConfigError, match=r"no model\.config"):
        build_toy(shrunk(None), 0)
    with pytest.raises(ConfigError, match="names no weights"):
        toy_spec(toy=None, path=None, shrunk=True)
