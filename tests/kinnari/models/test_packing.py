"""Packing is exact for every family a shipped model file declares it for, and refused for the others."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

import kinnari.models.glm
import kinnari.models.pangu  # noqa: F401  makes the family known
from kinnari.errors import ConfigError
from kinnari.models.attention import attention_to_load, install_attention
from kinnari.models.packing import block_diagonal_mask, packed_inputs

COMMON = {"vocab_size": 97, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LLAMA_LIKE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
              "num_key_value_heads": 2}  # fmt: skip
# toy sizes of the family of every causal model file; a window of 4 is shorter than the records below
FAMILIES = {
    "llama": {**COMMON, **LLAMA_LIKE},
    "qwen2": {**COMMON, **LLAMA_LIKE, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    "gemma3_text": {**COMMON, **LLAMA_LIKE, "head_dim": 8, "sliding_window": 4,
                    "layer_types": ["sliding_attention", "full_attention"]},
    "xglm": {**COMMON, "d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4},
    "opt": {**COMMON, "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "word_embed_proj_dim": 32},
    "falcon": {**COMMON, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": False,
               "multi_query": True, "parallel_attn": True, "new_decoder_architecture": False},
    "bloom": {"vocab_size": 97, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "pangu": {**COMMON, "hidden_size": 32, "num_layers": 3, "num_heads": 4},
    # 9 is the blank and 17 begins the answer of the first record; the second has neither and is read causally
    "glm_chinese": {"vocab_size": 97, "hidden_size": 32, "num_layers": 2, "num_attention_heads": 4, "max_sequence_length": 64,
                    "pad_token_id": 1, "eos_token_id": 2, "mask_token_ids": [9, 95, 96], "sop_token_id": 17, "eop_token_id": 8},
}  # fmt: skip
# as the files of conf/model/family say; tests/end_to_end/test_model_architectures.py packs every file of conf/model by its own
METHODS = {
    "llama": "position_ids", "qwen2": "position_ids", "gemma3_text": "position_ids", "pangu": "position_ids",
    "glm_chinese": "position_ids", "xglm": "mask4d", "opt": "mask4d", "falcon": "mask4d", "bloom": "mask4d",
}  # fmt: skip


def toy(family: str, attention: str):
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **FAMILIES[family])
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention_to_load(config, attention)).eval()
    install_attention(model, attention)
    assert model.config._attn_implementation == attention
    for parameter in model.parameters():  # the default init is so small that a leak could hide below the tolerance
        parameter.data.mul_(4 if parameter.dim() > 1 else 1)
    return model


def pack(records: list[list[int]]):
    ids = torch.tensor([[token for record in records for token in record]])
    positions = torch.tensor([[i for record in records for i in range(len(record))]])
    segments = torch.tensor([[k for k, record in enumerate(records) for _ in record]])
    return ids, positions, segments


RECORDS = [[5, 9, 17, 33, 60, 11, 8], [70, 3, 44, 90, 21, 6, 55, 13, 29]]


def largest_gap(model, method: str, attention: str, rows: int) -> float:
    """Packed logits against those of each record run alone; the second row holds the records the other way round."""
    both = [RECORDS, RECORDS[::-1]][:rows]
    packed = [pack(records) for records in both]
    ids, positions, segments = (torch.cat(part) for part in zip(*packed, strict=True))
    with torch.no_grad():
        together = model(input_ids=ids, **packed_inputs(positions, segments, method, attention, torch.float32)).logits
        alone = torch.stack([torch.cat([model(input_ids=torch.tensor([r]), use_cache=False).logits[0] for r in row]) for row in both])
    return (together - alone).abs().max().item()


CASES = [(family, attention) for family in sorted(METHODS) for attention in ("sdpa", "eager")]


@pytest.mark.parametrize(("family", "attention"), CASES)
@pytest.mark.parametrize("rows", [1, 2])
def test_packed_logits_equal_separate_rows(family, attention, rows):
    assert largest_gap(toy(family, attention), METHODS[family], attention, rows) < 1e-5


@pytest.mark.parametrize("family", ["xglm", "opt", "falcon", "bloom"])
def test_families_declared_mask4d_leak_with_positions_alone(family):
    assert largest_gap(toy(family, "sdpa"), "position_ids", "sdpa", 1) > 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_bloom_packed_far_into_a_row_is_as_exact_as_at_its_beginning_in_half_precision(dtype):
    """Positions up to 1,100 as one bfloat16 number would be 8 apart: neighbours would weigh the same."""
    model = toy("bloom", "sdpa").to(dtype)
    record = RECORDS[1]
    ids, positions, segments = pack([[7] * 1100, record])
    with torch.no_grad():
        packed = model(input_ids=ids, **packed_inputs(positions, segments, "mask4d", "sdpa", dtype)).logits[0, 1100:]
        alone = model(input_ids=torch.tensor([record]), use_cache=False).logits[0]
    assert (packed - alone).abs().max() < 8 * torch.finfo(dtype).eps * alone.abs().max()


@pytest.mark.parametrize("family", ["gemma3_text", "qwen2"])
def test_sliding_window_families_would_be_wrong_under_a_4d_mask(family):
    assert largest_gap(toy(family, "sdpa"), "mask4d", "sdpa", 1) > 1e-3


def test_additive_mask_is_the_boolean_one_in_numbers():
    _, positions, segments = pack([[1, 2], [3]])
    boolean = packed_inputs(positions, segments, "mask4d", "sdpa", torch.float32)["attention_mask"]
    additive = packed_inputs(positions, segments, "mask4d", "eager", torch.float16)["attention_mask"]
    assert boolean.tolist() == [[[[True, False, False], [True, True, False], [False, False, True]]]]
    low = torch.finfo(torch.float16).min
    assert additive.dtype == torch.float16
    assert additive[0, 0].tolist() == [[0, low, low], [0, 0, low], [low, low, 0]]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_mask_equals_a_slow_double_loop(lengths):
    segments = torch.tensor([[k for k, length in enumerate(lengths) for _ in range(length)]])
    total = segments.shape[1]
    expected = [[j <= i and segments[0, i] == segments[0, j] for j in range(total)] for i in range(total)]
    assert torch.equal(block_diagonal_mask(segments)[0, 0], torch.tensor(expected))


def test_families_without_an_exact_method_are_refused():
    _, positions, segments = pack(RECORDS)
    with pytest.raises(ConfigError, match="packing off"):
        packed_inputs(positions, segments, "none", "eager", torch.float32)


def test_flash_attention_refuses_what_it_would_compute_wrongly():
    _, positions, segments = pack(RECORDS)
    with pytest.raises(ConfigError, match="4-D"):
        packed_inputs(positions, segments, "mask4d", "flash_attention_2", torch.bfloat16)
    with pytest.raises(ConfigError, match="one row"):
        packed_inputs(positions.repeat(2, 1), segments.repeat(2, 1), "position_ids", "flash_attention_2", torch.bfloat16)
