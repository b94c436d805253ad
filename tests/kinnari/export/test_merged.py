"""What leaves loads with plain peft and transformers in another process, and computes the same."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import MixtralConfig, MixtralForCausalLM

from kinnari.errors import ConfigError
from kinnari.export.adapter import export_adapter
from kinnari.export.merged import export_merged, merged_tensors
from kinnari.export.probe import Probe
from kinnari.export.verify import verify_merge
from kinnari.models.load import load_model, load_tokenizer
from kinnari.strategies.tuning import Tuning, apply_tuning, quantization_config
from tests.kinnari.models.specs import LLAMA_TOY, t5_spec, toy_spec

IDS = torch.randint(6, 262, (2, 16), generator=torch.Generator().manual_seed(0))
CAUSAL = Probe(IDS.tolist())
SEQ2SEQ = Probe(IDS.tolist(), [[0, *row] for row in IDS.tolist()])


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINNARI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def trained(name: str, spec=None, **tuning_changes):
    """A tuned toy whose adapters are no longer zero, in train mode."""
    spec = spec or toy_spec()
    tuning = Tuning(name=name, **tuning_changes)
    torch.manual_seed(0)
    model = load_model(spec, dtype=torch.float32, quantization=quantization_config(tuning, torch.float32, sharded=False))
    model = apply_tuning(model, tuning, spec).train()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model, load_tokenizer(spec)


@pytest.mark.parametrize("spec", [toy_spec(), t5_spec()], ids=["causal", "seq2seq"])
@pytest.mark.parametrize("name", ["full", "lora", "qlora", "lora_int8"])
def test_merged_folder_computes_what_was_trained_and_leaves_the_model_alone(name, spec, tmp_path):
    model, tokenizer = trained(name, spec)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    report = export_merged(model, tokenizer, tmp_path / "merged", dtype=torch.float32)
    gap = verify_merge(model, report.folder, SEQ2SEQ if spec.architecture == "seq2seq" else CAUSAL)
    assert gap.logit_gap_max < 1e-5 * max(1, gap.logit_spread)
    assert gap.greedy_agreement == 1.0 and gap.positions == (34 if spec.architecture == "seq2seq" else 32)
    assert model.training and before.keys() == dict(model.named_parameters()).keys()
    assert all(torch.equal(p, before[key]) for key, p in model.named_parameters())
    assert report.base == {"qlora": "dequantised 4-bit", "lora_int8": "dequantised 8-bit"}.get(name, "float")
    assert (report.merged_layers == 0) == (name == "full")


def test_merged_weight_is_w_plus_scaled_b_a():
    model, _ = trained("lora", r=4, alpha=6)
    layer = model.get_base_model().model.layers[1].self_attn.q_proj
    expected = layer.base_layer.weight + 6 / 4 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    merged = merged_tensors(model.get_base_model())
    assert torch.allclose(merged["model.layers.1.self_attn.q_proj.weight"](), expected, atol=1e-7)


def test_trained_biases_are_merged(tmp_path):
    spec = toy_spec(toy={**LLAMA_TOY, "attention_bias": True})
    model, tokenizer = trained("lora", spec, bias="all")
    report = export_merged(model, tokenizer, tmp_path / "merged", dtype=torch.float32)
    assert verify_merge(model, report.folder, CAUSAL).logit_gap_max < 1e-5


PLAIN_LIBRARIES = """
import json, sys, torch
from peft import AutoPeftModelForCausalLM, AutoPeftModelForSeq2SeqLM
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
kind, adapter, merged, out = sys.argv[1:]
seq2seq = kind == "seq2seq"
auto, auto_peft = ((AutoModelForSeq2SeqLM, AutoPeftModelForSeq2SeqLM) if seq2seq
                   else (AutoModelForCausalLM, AutoPeftModelForCausalLM))
ids = torch.tensor(json.loads(sys.stdin.read()))
inputs = {"input_ids": ids, **({"decoder_input_ids": ids} if seq2seq else {})}
from safetensors.torch import save_file
with torch.no_grad():
    logits = {"adapter": auto_peft.from_pretrained(adapter, dtype=torch.float32).eval()(**inputs).logits,
              "merged": auto.from_pretrained(merged, dtype=torch.float32).eval()(**inputs).logits}
tokens = [AutoTokenizer.from_pretrained(folder)("a")["input_ids"] for folder in (adapter, merged)]
assert tokens[0] == tokens[1]
assert not [name for name in sys.modules if name.split(".")[0] == "kinnari"]
save_file({key: value.contiguous() for key, value in logits.items()}, out)
"""


@pytest.mark.slow
@pytest.mark.parametrize("spec", [toy_spec(), t5_spec()], ids=["causal", "seq2seq"])
def test_both_folders_load_in_another_process_without_kinnari(spec, tmp_path):
    model, tokenizer = trained("lora", spec, targets="all-linear")
    adapter = export_adapter(model, tokenizer, tmp_path / "adapter")
    merged = export_merged(model, tokenizer, tmp_path / "merged", dtype=torch.float32).folder
    inputs = {"input_ids": IDS, **({"decoder_input_ids": IDS} if spec.architecture == "seq2seq" else {})}
    with torch.no_grad():
        expected = model.eval()(**inputs).logits
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "KINNARI_CACHE")}
    command = [
        sys.executable,
        "-c",
        PLAIN_LIBRARIES,
        spec.architecture,
        str(adapter),
        str(merged),
        str(tmp_path / "out"),
    ]
    subprocess.run(command, input=json.dumps(IDS.tolist()), text=True, check=True, cwd=tmp_path,
                   env={**environment, "HF_HUB_OFFLINE": "1"})  # fmt: skip
    for logits in load_file(tmp_path / "out").values():
        assert torch.allclose(logits, expected, atol=1e-5)


def test_merged_folder_is_plain_sharded_safetensors_with_all_that_generation_needs(tmp_path):
    model, tokenizer = trained("qlora")
    tokenizer.chat_template = "{{ messages }}"
    folder = export_merged(model, tokenizer, tmp_path / "merged", dtype=torch.bfloat16, shard_size="100KB").folder
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config and config["dtype"] == "bfloat16" and config["use_cache"]
    assert (folder / "chat_template.jinja").read_text() == "{{ messages }}"
    assert (folder / "generation_config.json").is_file() and (folder / "tokenizer.json").is_file()
    shards = list(folder.glob("model-*.safetensors"))
    assert len(shards) > 1 and (folder / "model.safetensors.index.json").is_file()
    with safe_open(shards[0], "pt") as shard:
        assert {shard.get_tensor(key).dtype for key in shard.keys()} == {torch.bfloat16}  # noqa: SIM118
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".bin", ".pt", ".pth", ".pkl")]


def test_tied_head_stays_tied(tmp_path):
    spec = toy_spec(toy={**LLAMA_TOY, "tie_word_embeddings": True})
    model, tokenizer = trained("full", spec)
    folder = export_merged(model, tokenizer, tmp_path / "merged", dtype=torch.float32).folder
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    assert verify_merge(model, folder, CAUSAL).logit_gap_max == 0


def test_verify_merge_sees_a_wrong_merge(tmp_path):
    model, tokenizer = trained("lora")
    folder = export_merged(model, tokenizer, tmp_path / "merged", dtype=torch.float32).folder
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.mlp.down_proj.weight"] *= 3
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert verify_merge(model, folder, CAUSAL).logit_gap_max > 1e-3


def test_a_killed_export_leaves_the_one_before(tmp_path, monkeypatch):
    model, tokenizer = trained("lora")
    folder = export_merged(model, tokenizer, tmp_path / "merged", dtype=torch.float32).folder
    before = (folder / "model.safetensors").read_bytes()

    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(tokenizer, "save_pretrained", killed)
    with pytest.raises(KeyboardInterrupt):
        export_merged(model, tokenizer, folder, dtype=torch.bfloat16)
    assert (folder / "model.safetensors").read_bytes() == before


def test_a_second_export_replaces_the_first(tmp_path):
    model, tokenizer = trained("lora")
    for _ in range(2):
        export_adapter(model, tokenizer, tmp_path / "adapter")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_a_folder_with_other_things_in_it_is_not_overwritten(tmp_path):
    model, tokenizer = trained("lora")
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not overwritten"):
        export_adapter(model, tokenizer, tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_full_tuning_has_no_adapter_to_export(tmp_path):
    model, tokenizer = trained("full")
    with pytest.raises(ConfigError, match="merged"):
        export_adapter(model, tokenizer, tmp_path / "adapter")


def test_a_head_that_its_config_ties_but_its_weights_do_not_is_kept(tmp_path):
    # transformers keeps such a head while loading, so the trained model has it
    spec = t5_spec()
    model, tokenizer = trained("lora", spec)
    base = model.get_base_model()
    base.lm_head.weight = torch.nn.Parameter(torch.randn_like(base.shared.weight), requires_grad=False)
    base.config.tie_word_embeddings = True
    folder = export_merged(model, tokenizer, tmp_path / "merged", dtype=torch.float32).folder
    assert torch.equal(load_file(folder / "model.safetensors")["lm_head.weight"], base.lm_head.weight)
    assert verify_merge(model, folder, SEQ2SEQ).logit_gap_max < 1e-3


def test_a_family_whose_tensors_are_joined_while_loading_is_written_as_published(tmp_path):
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
    torch.manual_seed(0)
    model = MixtralForCausalLM(MixtralConfig(vocab_size=270, num_local_experts=3, num_experts_per_tok=2, **shape)).eval()
    folder = export_merged(model, load_tokenizer(toy_spec()), tmp_path / "merged", dtype=torch.float32, shard_size="10KB").folder
    names = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    assert "model.layers.0.block_sparse_moe.experts.2.w1.weight" in names  # as Mixtral's own files
    assert verify_merge(model, folder, CAUSAL).logit_gap_max < 1e-5
