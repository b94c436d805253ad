"""A record of a model that cannot be right is refused; tests/conf/test_model_files.py reads the shipped ones."""

import pytest

from kinnari.errors import ConfigError
from kinnari.models.spec import ModelSpec

VALID = {
    "name": "a", "architecture": "causal", "path": "hub/a", "package": None, "toy": None, "lora_targets": ["q_proj"],
    "block_classes": ["LlamaDecoderLayer"], "max_length": 512, "dtype": "auto", "attention": "auto",
    "packing": "position_ids", "pad_token": None, "licence": "MIT", "notice": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "bidirectional"}, "causal, seq2seq, encoder"),
        ({"packing": "mask2d"}, "position_ids, mask4d, none"),
        ({"dtype": "fp8"}, "bfloat16"),
        ({"attention": "xformers"}, "sdpa"),
        ({"path": None}, "names no weights"),
        ({"path": None, "toy": {"hidden_size": 8}}, "model_type"),
        ({"config": {"hidden_size": 8}}, r"model\.config needs `model_type`"),
        ({"path": None, "shrunk": True}, "names no weights"),
        ({"shrunk": "yes"}, "true or false"),
        ({"max_length": 1}, "2 or more"),
    ],
)
def test_a_wrong_field_is_refused_with_its_remedy(change, message):
    with pytest.raises(ConfigError, match=message):
        ModelSpec(**{**VALID, **change})
