"""Meta's layout: names, rows, parameters, and the same logits out of equations written down independently."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from kinnari.errors import ConfigError
from kinnari.export.original_llama import feed_forward_params, original_name, original_params, pairs_from_halves, write_original

TINY = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 88, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": 9000}  # fmt: skip
LENGTH = 60
SCALED = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192}  # fmt: skip
SHAPES = {
    "llama1": {"num_key_value_heads": 4, "rms_norm_eps": 1e-6, "tie_word_embeddings": False},
    "llama2_gqa": {"num_key_value_heads": 2, "rms_norm_eps": 1e-5, "tie_word_embeddings": False},
    "llama3": {"num_key_value_heads": 1, "tie_word_embeddings": False, "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
    "llama3.1": {"num_key_value_heads": 2, "tie_word_embeddings": False, "rope_parameters": SCALED},
    "llama3.2_tied": {"num_key_value_heads": 2, "tie_word_embeddings": True, "rope_parameters": SCALED | {"factor": 32.0}},
}


def saved(folder, dtype=torch.float64, **changes):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**TINY | changes)).to(dtype)
    for name, parameter in model.named_parameters():
        if "norm" in name:  # all ones otherwise, and no test would see them exchanged
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        if "q_proj" in name or "k_proj" in name:  # attention is flat otherwise, and positions hardly matter
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder, max_shard_size="40KB")
    return model.eval()


# --- Meta's forward, from the equations of the LLaMA papers, on params.json and consolidated.00.pth alone -------------------


def meta_logits(state: Mapping[str, Tensor], params: Mapping, ids: Tensor) -> Tensor:
    """[T, vocabulary] logits of one sequence, float64: one position and one head at a time."""
    dim, heads = params["dim"], params["n_heads"]
    keys, size = params.get("n_kv_heads", heads), dim // heads
    turns = rotations(len(ids), size, params)
    x = state["tok_embeddings.weight"][ids]
    for n in range(params["n_layers"]):
        layer = {key.removeprefix(f"layers.{n}."): value for key, value in state.items() if key.startswith(f"layers.{n}.")}
        h = rms(x, layer["attention_norm.weight"], params["norm_eps"])
        q = turned((h @ layer["attention.wq.weight"].T).view(-1, heads, size), turns)
        k = turned((h @ layer["attention.wk.weight"].T).view(-1, keys, size), turns)
        v = (h @ layer["attention.wv.weight"].T).view(-1, keys, size)
        mixed = torch.zeros(len(ids), heads, size, dtype=x.dtype)
        for t in range(len(ids)):
            for head in range(heads):
                group = head // (heads // keys)
                weights = torch.softmax(k[: t + 1, group] @ q[t, head] / math.sqrt(size), dim=0)
                mixed[t, head] = weights @ v[: t + 1, group]
        x = x + mixed.view(-1, dim) @ layer["attention.wo.weight"].T
        h = rms(x, layer["ffn_norm.weight"], params["norm_eps"])
        gate = h @ layer["feed_forward.w1.weight"].T
        x = x + (gate * torch.sigmoid(gate) * (h @ layer["feed_forward.w3.weight"].T)) @ layer["feed_forward.w2.weight"].T
    return rms(x, state["norm.weight"], params["norm_eps"]) @ state["output.weight"].T


def rms(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def rotations(length: int, size: int, params: Mapping) -> Tensor:
    """[T, size / 2] complex numbers of modulus 1: position times frequency is the angle of each pair."""
    frequencies = []
    for pair in range(size // 2):
        frequency = params.get("rope_theta", 10000.0) ** (-2 * pair / size)
        if params.get("use_scaled_rope"):
            frequency = scaled(frequency, params.get("rope_scaling_factor", 8.0))
        frequencies.append(frequency)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * torch.tensor(frequencies, dtype=torch.float64)
    return torch.polar(torch.ones_like(angles), angles)


def scaled(frequency: float, factor: float) -> float:
    """Llama 3.1: waves of over 8192 positions are stretched, those of under a quarter are not, between them it is a blend."""
    wave = 2 * math.pi / frequency
    share = min(1.0, max(0.0, (8192 / wave - 1) / (4 - 1)))
    return (1 - share) * frequency / factor + share * frequency


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """Neighbouring numbers of [T, heads, size] as complex numbers, multiplied."""
    pairs = torch.complex(x[..., 0::2], x[..., 1::2]) * turns[:, None]
    return torch.stack([pairs.real, pairs.imag], dim=-1).flatten(-2)


def exported(folder):
    state = torch.load(folder / "consolidated.00.pth", weights_only=True)
    return state, json.loads((folder / "params.json").read_text())


@pytest.mark.parametrize("shape", SHAPES)
def test_exported_tensors_give_the_logits_of_the_model(shape, tmp_path):
    model = saved(tmp_path / "hf", **SHAPES[shape])
    write_original(tmp_path / "hf", tmp_path / "original")
    ids = torch.randint(0, 50, (LENGTH,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(ids[None]).logits[0]
    gap = (meta_logits(*exported(tmp_path / "original"), ids) - expected).abs().max()
    # transformers computes rotary angles and norms in float32, whatever the model's dtype
    assert gap < 1e-6
    assert expected.std() > 0.05


def test_the_scaling_of_positions_is_seen_by_the_comparison(tmp_path):
    saved(tmp_path / "hf", **SHAPES["llama3.1"])
    write_original(tmp_path / "hf", tmp_path / "original")
    state, params = exported(tmp_path / "original")
    ids = torch.arange(LENGTH) % 50
    for changed in ({"use_scaled_rope": False}, {"rope_scaling_factor": 32.0}, {"rope_theta": 10000.0}):
        assert (meta_logits(state, params | changed, ids) - meta_logits(state, params, ids)).abs().max() > 1e-5


def test_rows_left_in_the_order_of_hugging_face_would_give_other_logits(tmp_path):
    model = saved(tmp_path / "hf", **SHAPES["llama1"])
    write_original(tmp_path / "hf", tmp_path / "original")
    state, params = exported(tmp_path / "original")
    state["layers.0.attention.wq.weight"] = model.state_dict()["model.layers.0.self_attn.q_proj.weight"]
    ids = torch.arange(9)
    with torch.no_grad():
        assert (meta_logits(state, params, ids) - model(ids[None]).logits[0]).abs().max() > 1e-5


# --- rows -----------------------------------------------------------------------------------------------------------------


def hugging_face_order(weight: Tensor, heads: int) -> Tensor:
    """What the conversion to Hugging Face does: of each head first the even rows, then the odd ones."""
    size = len(weight) // heads
    rows = [head * size + offset for head in range(heads) for offset in [*range(0, size, 2), *range(1, size, 2)]]
    return weight[rows]


@given(heads=st.integers(1, 6), half=st.integers(1, 5), columns=st.integers(1, 4))
def test_reordering_is_the_inverse_of_the_conversion_to_hugging_face(heads, half, columns):
    meta = torch.randn(heads * 2 * half, columns)
    assert torch.equal(pairs_from_halves(hugging_face_order(meta, heads), heads), meta)


def test_a_head_of_four_rows_by_hand():
    assert pairs_from_halves(torch.tensor([[0], [1], [2], [3], [10], [11], [12], [13]]), 2).flatten().tolist() == [
        0,
        2,
        1,
        3,
        10,
        12,
        11,
        13,
    ]


# --- names and parameters ---------------------------------------------------------------------------------------------------


def test_names_are_those_of_the_release(tmp_path):
    saved(tmp_path / "hf", num_hidden_layers=1, tie_word_embeddings=False)
    report = write_original(tmp_path / "hf", tmp_path / "original")
    state, params = exported(tmp_path / "original")
    layer = ["attention.wq", "attention.wk", "attention.wv", "attention.wo", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3",
             "attention_norm", "ffn_norm"]  # fmt: skip
    assert set(state) == {"tok_embeddings.weight", "norm.weight", "output.weight", *(f"layers.0.{name}.weight" for name in layer)}
    assert params == report.params
    assert original_name("model.layers.31.mlp.down_proj.weight") == "layers.31.feed_forward.w2.weight"


# dim, size of the feed-forward layer, and the two parameters as Meta published them
PUBLISHED = {
    "7B": (4096, 11008, 256, None), "13B": (5120, 13824, 256, None), "30B": (6656, 17920, 256, None), "65B": (8192, 22016, 256, None),
    "2-70B": (8192, 28672, 4096, 1.3), "3-8B": (4096, 14336, 1024, 1.3), "3.1-405B": (16384, 53248, 4096, 1.2),
    "3.2-1B": (2048, 8192, 256, 1.5), "3.2-3B": (3072, 8192, 256, 1.0),
}  # fmt: skip


def meta_hidden(dim, multiple_of, ffn_dim_multiplier=None):
    hidden = int(2 * (4 * dim) / 3)
    if ffn_dim_multiplier is not None:
        hidden = int(ffn_dim_multiplier * hidden)
    return multiple_of * ((hidden + multiple_of - 1) // multiple_of)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameters_and_ours_give_one_feed_forward_size(name):
    dim, hidden, multiple, multiplier = PUBLISHED[name]
    assert meta_hidden(dim, multiple, multiplier) == hidden
    assert meta_hidden(dim, **feed_forward_params(dim, hidden)) == hidden


@given(st.integers(1, 20000), st.integers(1, 60000))
def test_parameters_are_found_for_every_size(dim, hidden):
    assert meta_hidden(dim, **feed_forward_params(dim, hidden)) == hidden


def test_the_parameters_of_llama_7b_are_those_published():
    config = LlamaConfig(rms_norm_eps=1e-6)
    expected = {"dim": 4096, "multiple_of": 256, "n_heads": 32, "n_layers": 32, "norm_eps": 1e-6, "vocab_size": 32000}
    assert original_params(config) == expected


# --- files ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_dtype_stays_and_a_tied_head_takes_no_second_copy(tmp_path, dtype):
    saved(tmp_path / "hf", dtype, vocab_size=4000, **SHAPES["llama3.2_tied"])
    report = write_original(tmp_path / "hf", tmp_path / "original")
    state, _ = exported(tmp_path / "original")
    assert {tensor.dtype for tensor in state.values()} == {dtype}
    assert torch.equal(state["output.weight"], state["tok_embeddings.weight"])
    once = sum(tensor.nbytes for name, tensor in state.items() if name != "output.weight")
    assert once < report.files["consolidated.00.pth"] < once + 20_000


def test_the_tokenizer_is_there_if_there_was_one(tmp_path, caplog):
    saved(tmp_path / "hf")
    with caplog.at_level(logging.WARNING):
        assert not write_original(tmp_path / "hf", tmp_path / "original").tokenizer
    assert "no tokenizer.model" in caplog.text
    (tmp_path / "hf" / "tokenizer.model").write_bytes(b"pieces")
    report = write_original(tmp_path / "hf", tmp_path / "original")
    assert report.tokenizer and (tmp_path / "original" / "tokenizer.model").read_bytes() == b"pieces"
    assert set(report.files) == {"consolidated.00.pth", "params.json", "tokenizer.model"}


# --- refusals -----------------------------------------------------------------------------------------------------------------


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "mistral"}, "type 'mistral'"),
        ({"attention_bias": True}, "attention_bias"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"hidden_act": "gelu"}, "hidden_act=gelu"),
        ({"head_dim": 16}, "head_dim=16"),
        ({"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}, "rope_type=linear"),
        ({"rope_parameters": SCALED | {"low_freq_factor": 2.0}}, "rope_parameters="),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "quantization_config"),
        ({"num_hidden_layers": 3}, "9 missing, 0 too many, such as model.layers.2.input_layernorm.weight"),
        ({"num_hidden_layers": 1}, "0 missing, 9 too many"),
        ({"intermediate_size": 64}, "has shape"),
        ({"hidden_size": "wide"}, "config.json"),
    ],
)
def test_what_the_layout_cannot_say_is_refused(tmp_path, changes, named):
    saved(tmp_path / "hf")
    edit_config(tmp_path / "hf", **changes)
    with pytest.raises(ConfigError, match=named.replace("(", r"\(")):
        write_original(tmp_path / "hf", tmp_path / "original")
    assert not (tmp_path / "original").exists()


def test_another_architecture_and_a_folder_without_config_are_refused(tmp_path):
    GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=20)).save_pretrained(tmp_path / "gpt2")
    with pytest.raises(ConfigError, match="'gpt2'"):
        write_original(tmp_path / "gpt2", tmp_path / "original")
    with pytest.raises(ConfigError, match=r"no readable config\.json"):
        write_original(tmp_path / "nothing", tmp_path / "original")


def test_the_folder_that_is_read_is_not_written_over(tmp_path):
    saved(tmp_path / "hf")
    with pytest.raises(ConfigError, match="which is read"):
        write_original(tmp_path / "hf", tmp_path / "hf")
    AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
