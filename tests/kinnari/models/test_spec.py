"""Every shipped model file is a valid ModelSpec."""

from pathlib import Path

import pytest
import yaml

from kinnari.errors import ConfigError
from kinnari.models.spec import ModelSpec

CONF = Path(__file__).parents[3] / "conf" / "model"
VALID = {
    "name": "a", "architecture": "causal", "path": "hub/a", "package": None, "toy": None, "lora_targets": ["q_proj"],
    "block_classes": ["LlamaDecoderLayer"], "max_length": 512, "dtype": "auto", "attention": "auto",
    "packing": "position_ids", "pad_token": None, "licence": "MIT", "notice": None,
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_model_file_is_a_spec_named_after_itself(path):
    fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    template, own = fields.pop("defaults")
    assert list(template) == ["template"] and own == "_self_"
    spec = ModelSpec(**fields)
    assert spec.name == path.stem
    assert spec.lora_targets and spec.block_classes and spec.licence


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "encoder"}, "causal, seq2seq"),
        ({"packing": "mask2d"}, "position_ids, mask4d, none"),
        ({"dtype": "fp8"}, "bfloat16"),
        ({"attention": "xformers"}, "sdpa"),
        ({"path": None}, "names no weights"),
        ({"path": None, "toy": {"hidden_size": 8}}, "model_type"),
        ({"max_length": 1}, "2 or more"),
    ],
)
def test_a_wrong_field_is_refused_with_its_remedy(change, message):
    with pytest.raises(ConfigError, match=message):
        ModelSpec(**{**VALID, **change})
