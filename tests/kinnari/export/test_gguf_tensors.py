"""Which type each tensor takes, blocks worked by hand, and the order of the values."""

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, quants
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from transformers import LlamaConfig

from kinnari.export.gguf_tensors import Stored, interleave_halves, plan_tensors, stored_type, stored_values

CONFIG = LlamaConfig()


def stored(values: np.ndarray, kind: str) -> np.ndarray:
    tensor = Stored("t.weight", "t", values.shape, GGMLQuantizationType[kind], None)
    return stored_values(tensor, lambda rows: torch.tensor(values)[rows], CONFIG)


def half(value: float) -> list[int]:
    return list(np.array([value], np.float16).tobytes())


def test_q8_0_by_hand():
    """Largest weight 63.5, so steps of 0.5: 127 is the largest code; 0.7 is 1.4 steps and becomes 1."""
    block = np.zeros((1, 32), np.float32)
    block[0, :5] = [63.5, -63.5, 0.5, 0.7, -0.8]
    assert stored(block, "Q8_0").tolist() == [half(0.5) + [127, 256 - 127, 1, 1, 256 - 2] + [0] * 27]


def test_q4_0_by_hand():
    """The weight farthest from 0, -2, takes code 0 of 0..15, so steps of 0.25 around code 8; two codes a byte, i and i + 16."""
    block = np.zeros((1, 32), np.float32)
    block[0, :3] = [-2.0, 0.25, 1.75]
    block[0, 16:18] = [-0.25, 5 * 0.25 + 0.1]
    # low nibbles 0, 9, 15, then 8 for 0; high nibbles 7, 13, then 8
    assert stored(block, "Q4_0").tolist() == [half(0.25) + [0x70, 0xD9, 0x8F] + [0x88] * 13]


def test_q4_1_by_hand():
    """From 1 to 8.5 in 15 steps of 0.5, counted from the smallest."""
    block = np.ones((1, 32), np.float32)
    block[0, :3] = [8.5, 1.5, 3.2]
    block[0, 16] = 2.0
    # codes 15, 1, round(4.4) = 4; second half 2
    assert stored(block, "Q4_1").tolist() == [half(0.5) + half(1.0) + [0x2F, 0x01, 0x04] + [0x00] * 13]


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1"])
@given(values=arrays(np.float32, (3, 64), elements=st.floats(-1000, 1000, width=32)))
def test_values_are_those_of_the_gguf_package(kind, values):
    with np.errstate(all="ignore"):  # of numbers near 1e-40
        expected = quants.quantize(values, GGMLQuantizationType[kind])
    assert np.array_equal(stored(values, kind), expected)


def test_a_tensor_larger_than_a_chunk_is_written_in_parts_alike(monkeypatch):
    monkeypatch.setattr("kinnari.export.gguf_tensors.CHUNK", 10 * 64)
    values = np.random.default_rng(0).normal(size=(25, 64)).astype(np.float32)
    read = []

    def rows(wanted: slice) -> torch.Tensor:
        read.append(wanted)
        return torch.from_numpy(values[wanted])

    found = stored_values(Stored("t.weight", "t", values.shape, GGMLQuantizationType.Q8_0, None), rows, CONFIG)
    assert read == [slice(0, 10), slice(10, 20), slice(20, 30)]
    assert np.array_equal(found, quants.quantize(values, GGMLQuantizationType.Q8_0))


@pytest.mark.parametrize(
    ("name", "shape", "kind", "expected"),
    [
        ("blk.0.ffn_up.weight", (96, 64), "F32", "F32"),
        ("blk.0.ffn_up.weight", (96, 64), "BF16", "BF16"),
        ("blk.0.ffn_up.weight", (96, 64), "Q4_1", "Q4_1"),
        ("blk.0.ffn_up.weight", (64, 48), "Q4_1", "F16"),  # 48 is no multiple of 32
        ("blk.0.ffn_up.weight", (64, 48), "F16", "F16"),
        ("blk.0.ffn_up.bias", (96,), "F16", "F32"),
        ("blk.0.attn_norm.weight", (64,), "Q8_0", "F32"),
        ("position_embd.weight", (128, 64), "Q8_0", "F32"),
        ("output.weight", (500, 64), "Q4_0", "Q8_0"),
        ("output.weight", (500, 64), "Q8_0", "Q8_0"),
        ("token_embd.weight", (500, 64), "Q4_0", "Q4_0"),
    ],
)
def test_the_type_follows_name_and_shape(name, shape, kind, expected):
    assert stored_type(name, shape, kind) == GGMLQuantizationType[expected]


def test_a_tied_embedding_gives_the_logits_so_it_takes_eight_bits():
    assert stored_type("token_embd.weight", (500, 64), "Q4_0", head="token_embd") == GGMLQuantizationType.Q8_0


def test_halves_of_a_head_are_interleaved():
    """Two heads of four rows: the rotated pairs (0, 2) and (1, 3) become neighbours."""
    rows = np.arange(8, dtype=np.float32)[:, None]
    assert interleave_halves(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@given(heads=st.integers(1, 6), pairs=st.integers(1, 8))
def test_interleaving_moves_each_row_once_and_within_its_head(heads, pairs):
    rows = np.arange(heads * pairs * 2)
    moved = interleave_halves(rows, heads)
    assert sorted(moved) == list(rows)
    assert (moved // (2 * pairs) == rows // (2 * pairs)).all()


def test_old_buffers_are_left_out_and_an_old_prefix_is_forgiven():
    config = LlamaConfig(vocab_size=40, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    plain = plan_tensors(config, shapes_of(config), "llama", "F16")
    bare = {name.removeprefix("model."): shape for name, shape in shapes_of(config).items()}
    old = plan_tensors(config, bare | {"layers.0.self_attn.rotary_emb.inv_freq": (8,)}, "llama", "F16")
    assert [(tensor.name, tensor.shape, tensor.type) for tensor in old] == [(tensor.name, tensor.shape, tensor.type) for tensor in plain]
    assert {tensor.source for tensor in old} == set(bare)


def shapes_of(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    from transformers import LlamaForCausalLM

    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in LlamaForCausalLM(config).state_dict().items()}
