"""GLM in the modules that every causal model goes through: loading, SFT, adapters, generation, export; and broken checkpoints."""

from __future__ import annotations

import json

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, save_file

from datamodules import InstructionDataModule
from datamodules.sources import ChatterBot
from kinnari.errors import ConfigError
from kinnari.export.merged import export_merged
from kinnari.export.probe import Probe
from kinnari.export.verify import verify_merge
from kinnari.generation.sampler import generate
from kinnari.generation.settings import GenerationSettings
from kinnari.models.glm import GLMForConditionalGeneration, GLMTokenizer
from kinnari.models.load import load_model, load_tokenizer
from kinnari.models.vocabulary import check_vocabulary
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.text.batches import collate_causal
from kinnari.text.records import Tokens, flatten
from lightning_modules import CausalLMSFT
from tests.kinnari.models.glm.toys import EOP, ROW, SHORT, SOP, public_folder, toy_model
from tests.kinnari.models.specs import toy_spec


@pytest.fixture
def folder(tmp_path):
    return public_folder(tmp_path / "glm", toy_model(max_sequence_length=256))


def spec(folder, **changes):
    return toy_spec(toy=None, path=str(folder), **changes)


def composed(folder, strategy="full"):
    return compose(["model=glm335m", f"model.path={folder}", f"strategy={strategy}", "trainer.precision=32-true"])


@pytest.mark.parametrize("size", ["glm335m", "glm10b"])
def test_the_shipped_model_files_name_blocks_and_layers_that_exist(size):
    chosen = build.model_spec(compose([f"model={size}"]))
    modules = dict(toy_model().named_modules())

    assert {type(module).__name__ for module in modules.values()} >= set(chosen.block_classes)
    assert {name.rpartition(".")[2] for name in modules} >= set(chosen.lora_targets)
    assert not chosen.trust_remote_code


def test_a_public_folder_loads_by_its_path_alone(folder):
    model, tokenizer = load_model(spec(folder), dtype=torch.float32), load_tokenizer(spec(folder))

    assert type(model) is GLMForConditionalGeneration and type(tokenizer) is GLMTokenizer
    assert model.config._attn_implementation == "sdpa" and not model.config.use_cache
    check_vocabulary(model, tokenizer)


@pytest.mark.parametrize("packed", [False, True], ids=["a row each", "packed"])
def test_the_loss_is_that_of_transformers_for_each_record(packed):
    model = toy_model()
    records = flatten([Tokens(row, [i > row.index(SOP) for i in range(len(row))]) for row in (ROW, SHORT)], ["r:0", "r:1"], ["s"] * 2, {})
    expected = 0.0
    for row in (ROW, SHORT):
        trained = row[row.index(SOP) + 1 :]
        labels = torch.tensor([[-100] * (len(row) - len(trained)) + trained])
        expected += float(model(torch.tensor([row]), labels=labels).loss) * len(trained)

    module = CausalLMSFT(model, packing="position_ids")
    batch = collate_causal(((0, 1),) if packed else ((0,), (1,)), records, pad_id=50, packed=packed, step_tokens=5)

    assert float(module(batch)[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("strategy", ["full", "lora", "qlora"])
def test_one_step_of_tuning_then_answers_then_a_merged_folder(folder, strategy, tmp_path):
    cfg = composed(folder, strategy)
    tuned, tokenizer = build.load_for_training(cfg)
    before = {name: parameter.detach().clone() for name, parameter in tuned.named_parameters() if parameter.requires_grad}
    source = ChatterBot(subjects=["ai"], limit=20)
    data = InstructionDataModule({"chatterbot": source}, tokenizer, build.template(cfg, tokenizer), max_length=128, packing="packed")
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}

    pl.Trainer(accelerator="cpu", max_steps=2, **quiet).fit(CausalLMSFT(tuned, packing=cfg.model.packing), data)

    changed = {name for name, parameter in tuned.named_parameters() if name in before and not parameter.equal(before[name])}
    assert changed == set(before) if strategy == "full" else any("lora_B" in name for name in changed)
    assert len(before) == 29 if strategy == "full" else all("lora" in name for name in before)

    prompts = [row[: row.index(SOP) + 1] for row in (ROW, SHORT)]
    settings = GenerationSettings(max_new_tokens=6, batch_size=2)
    both = generate(tuned, tokenizer, prompts, settings, stop_id=EOP)
    assert [a.token_ids for a in both] == [generate(tuned, tokenizer, [p], settings, stop_id=EOP)[0].token_ids for p in prompts]

    export_merged(tuned, tokenizer, tmp_path / "merged", dtype=torch.float32)
    gap = verify_merge(tuned, tmp_path / "merged", Probe([ROW]), dtype=torch.float32)
    assert gap.logit_gap_max < 1e-4 and gap.greedy_agreement == 1.0
    again = generate(
        load_model(spec(tmp_path / "merged"), dtype=torch.float32), load_tokenizer(spec(tmp_path / "merged")), prompts, settings
    )
    assert len(again) == 2


def test_a_toy_without_the_ten_tokens_is_a_plain_causal_model():
    toy = {"model_type": "glm_chinese", "hidden_size": 16, "num_layers": 1, "num_attention_heads": 2, "max_sequence_length": 64}
    model = load_model(toy_spec(toy=toy), dtype=torch.float32)
    ids = torch.tensor([[6, 70, 71, 200]])

    with torch.no_grad():
        assert torch.allclose(model(ids).logits[:, :3], model(ids[:, :3]).logits, atol=1e-6)


def broken(folder, how):
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    if how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-500])
    elif how == "absent":
        del tensors["glm.transformer.layers.1.attention.dense.bias"]
        save_file(tensors, weights, metadata={"format": "pt"})
    elif how == "shape":
        tensors["glm.transformer.position_embeddings.weight"] = torch.zeros(5, 16)
        save_file(tensors, weights, metadata={"format": "pt"})
    elif how == "vocabulary":
        tensors["glm.word_embeddings.weight"] = torch.zeros(55, 16)
        save_file(tensors, weights, metadata={"format": "pt"})
    elif how == "pickled":
        torch.save(tensors | {"a": print}, folder / "pytorch_model.bin")  # a reference to a function beside the tensors
        weights.unlink()
    else:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        (folder / "config.json").write_text(json.dumps(config | {"num_attention_heads": 3}), encoding="utf-8")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated", "(?i)copy"),
        ("absent", r"layers\.1\.attention\.dense\.bias"),
        ("shape", r"position_embeddings\.weight"),
        ("vocabulary", r"word_embeddings\.weight"),
        ("pickled", "pickled code"),
        ("config", "num_attention_heads"),
    ],
)
def test_broken_checkpoints_are_refused_by_name(folder, how, words):
    broken(folder, how)
    with pytest.raises(ConfigError, match=words):
        load_model(spec(folder), dtype=torch.float32)
