"""Tuning: what is trained is exactly what was asked for, on the CPU, for every kind of base."""

import json
import logging

import pytest
import torch

from kinnari.errors import ConfigError
from kinnari.export.adapter import export_adapter
from kinnari.models.load import load_model, load_tokenizer
from kinnari.models.spec import ModelSpec
from kinnari.strategies.tuning import Tuning, apply_tuning, quantization_config, trainable_parameters
from tests.kinnari.models.specs import LLAMA_TOY, t5_spec, toy_spec

IDS = torch.randint(6, 262, (2, 16), generator=torch.Generator().manual_seed(0))
# hand count of LLAMA_TOY: embedding and head 262*64 each; a block has q, o 64*64, k, v 64*32, gate, up, down 64*128,
# norms 2*64
TOTAL = 2 * 262 * 64 + 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128 + 2 * 64) + 64


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINNARI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def tuned(tuning: Tuning, spec: ModelSpec | None = None, dtype: torch.dtype = torch.float32):
    spec = spec or toy_spec()
    torch.manual_seed(0)
    model = load_model(spec, dtype=dtype, quantization=quantization_config(tuning, torch.float32, sharded=False))
    return apply_tuning(model, tuning, spec)


def train(model, steps: int = 5) -> list[float]:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    model.train()
    losses = []
    for _ in range(steps):
        loss = model(input_ids=IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("spec", [toy_spec(), t5_spec()], ids=["causal", "seq2seq"])
@pytest.mark.parametrize("name", ["full", "lora", "qlora", "lora_int8"])
def test_loss_falls_and_the_frozen_base_keeps_its_bits(name, spec):
    model = tuned(Tuning(name=name), spec)
    frozen = {key: p.detach().clone() for key, p in model.named_parameters() if not p.requires_grad}
    losses = train(model)
    assert losses[-1] < losses[0] - 0.05
    parameters = dict(model.named_parameters())
    assert all(torch.equal(parameters[key], before) for key, before in frozen.items())
    assert bool(frozen) == (name != "full")


@pytest.mark.parametrize("name", ["qlora", "lora_int8"])
def test_training_goes_on_the_same_after_a_validation(name):
    straight, interrupted = tuned(Tuning(name=name)), tuned(Tuning(name=name))
    first = train(straight, 2)
    interrupted.eval()
    with torch.no_grad():
        interrupted(input_ids=IDS)
    assert train(interrupted, 2) == first


@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
@pytest.mark.parametrize("double_quant", [True, False])
@pytest.mark.parametrize("storage", [None, "float32", "bfloat16"])
def test_4bit_base_is_the_same_whatever_holds_it(quant_type, double_quant, storage):
    def logits(quant_storage):
        tuning = Tuning(name="qlora", quant_type=quant_type, double_quant=double_quant, quant_storage=quant_storage)
        with torch.no_grad():
            return tuned(tuning)(input_ids=IDS).logits

    assert torch.equal(logits(storage), logits("uint8"))


def test_4bit_codes_and_double_quantisation_are_told_apart():
    layers = [
        tuned(Tuning(name="qlora", quant_type=code, double_quant=double)).get_base_model().model.layers[0].mlp.up_proj.weight
        for code, double in (("nf4", True), ("nf4", False), ("fp4", True))
    ]
    assert [(w.quant_state.quant_type, w.quant_state.nested) for w in layers] == [
        ("nf4", True),
        ("nf4", False),
        ("fp4", True),
    ]


def test_trained_parameters_are_float32_and_the_frozen_base_stays_as_loaded():
    model = tuned(Tuning(name="lora"), dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}
    assert {p.dtype for p in tuned(Tuning(name="full"), dtype=torch.bfloat16).parameters()} == {torch.float32}
    assert losses_fall(train(model))


def losses_fall(losses: list[float]) -> bool:
    return losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["lora", "qlora"])
def test_gradient_checkpointing_changes_no_gradient(name):
    grads = []
    for checkpointing in (False, True):
        model = tuned(Tuning(name=name, dropout=0.1, gradient_checkpointing=checkpointing)).train()
        torch.manual_seed(1)
        model(input_ids=IDS, labels=IDS).loss.backward()
        grads.append({key: p.grad for key, p in model.named_parameters() if p.requires_grad})
        assert model.get_base_model().is_gradient_checkpointing == checkpointing
    assert all(torch.allclose(grads[0][key], grads[1][key], atol=1e-6) for key in grads[0])
    assert any(grad.abs().sum() > 0 for grad in grads[1].values())


def test_parameters_are_counted_by_hand():
    assert trainable_parameters(tuned(Tuning(name="full"))) == (TOTAL, TOTAL)
    adapters = 2 * 4 * ((64 + 64) + (64 + 32) + (128 + 64))  # 2 blocks, rank 4, in + out of q, v, down
    for name in ("lora", "qlora", "lora_int8"):
        assert trainable_parameters(tuned(Tuning(name=name, r=4))) == (adapters, TOTAL + adapters)
    packed_in_floats = Tuning(name="qlora", r=4, quant_storage="float32")
    assert trainable_parameters(tuned(packed_in_floats)) == (adapters, TOTAL + adapters)


def test_tied_parameters_count_once():
    spec = toy_spec(toy={**LLAMA_TOY, "tie_word_embeddings": True})
    assert trainable_parameters(tuned(Tuning(name="full"), spec)) == (TOTAL - 262 * 64, TOTAL - 262 * 64)


@pytest.mark.parametrize("tied", [False, True])
def test_all_linear_adapts_every_layer_but_the_head(tied):
    spec = toy_spec(toy={**LLAMA_TOY, "tie_word_embeddings": tied})
    model = tuned(Tuning(name="lora", targets="all-linear"), spec)
    adapted = {key.split(".lora_A")[0].rsplit(".", 1)[-1] for key, p in model.named_parameters() if ".lora_A" in key}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_targets_of_the_run_win_over_those_of_the_model():
    model = tuned(Tuning(name="lora", targets=["o_proj"]))
    assert all(".o_proj." in key for key, p in model.named_parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("targets", "message"),
    [(["q_proj", "lm_head"], "head"), (["q_proj", "query"], "gate_proj, k_proj"), ("q_proj", "list")],
)
def test_impossible_targets_are_refused(targets, message):
    with pytest.raises(ConfigError, match=message):
        tuned(Tuning(name="lora", targets=targets))


@pytest.mark.parametrize("change", [{"name": "dora"}, {"r": 0}, {"dropout": 1.0}, {"quant_type": "int4"},
                                    {"name": "full", "adapter": "x"}])  # fmt: skip
def test_impossible_settings_are_refused(change):
    with pytest.raises(ConfigError):
        Tuning(**change)


def test_sharding_keeps_4bit_numbers_in_floats_and_refuses_8bit():
    assert quantization_config(Tuning(name="qlora"), torch.bfloat16, sharded=True).bnb_4bit_quant_storage == torch.bfloat16
    assert quantization_config(Tuning(name="qlora"), torch.bfloat16, sharded=False).bnb_4bit_quant_storage == torch.uint8
    assert quantization_config(Tuning(name="lora"), torch.bfloat16, sharded=True) is None
    with pytest.raises(ConfigError, match="qlora"):
        quantization_config(Tuning(name="lora_int8"), torch.bfloat16, sharded=True)


def test_full_tuning_of_a_quantised_model_is_refused():
    model = load_model(toy_spec(), dtype=torch.float32, quantization=quantization_config(Tuning(name="qlora"), torch.float32, False))
    with pytest.raises(ConfigError, match="without quantization"):
        apply_tuning(model, Tuning(name="full"), toy_spec())


@pytest.fixture
def adapter(tmp_path):
    model = tuned(Tuning(name="lora", r=4, alpha=8))
    train(model, 2)
    return model, export_adapter(model, load_tokenizer(toy_spec()), tmp_path / "adapter")


@pytest.mark.parametrize("name", ["lora", "qlora"])
def test_an_adapter_is_trained_on_from_where_it_was(name, adapter, caplog):
    model, folder = adapter
    with caplog.at_level(logging.WARNING, logger="kinnari"):
        again = tuned(Tuning(name=name, adapter=str(folder), dropout=0.1))
    assert "r=4" in caplog.text
    before = {key: p for key, p in model.named_parameters() if p.requires_grad}
    after = {key: p for key, p in again.named_parameters() if p.requires_grad}
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert losses_fall(train(again))


def test_an_adapter_of_another_base_is_refused(adapter):
    spec = toy_spec(toy={**LLAMA_TOY, "rope_theta": 500.0})  # same shapes, other numbers
    with pytest.raises(ConfigError, match="was made for"):
        tuned(Tuning(name="lora", adapter=str(adapter[1])), spec)


@pytest.mark.parametrize("change", [{"hidden_size": 96}, {"num_hidden_layers": 1}, {"num_hidden_layers": 3}])
def test_an_adapter_of_another_shape_is_refused(adapter, change):
    config = adapter[1] / "adapter_config.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, "base_model_name_or_path": None}))
    with pytest.raises(ConfigError, match="does not fit"):
        tuned(Tuning(name="lora", adapter=str(adapter[1])), toy_spec(toy={**LLAMA_TOY, **change}))


def test_a_folder_without_a_safetensors_adapter_is_refused(adapter, tmp_path):
    with pytest.raises(ConfigError, match=r"adapter_config\.json"):
        tuned(Tuning(name="lora", adapter=str(tmp_path)))
    (adapter[1] / "adapter_model.safetensors").unlink()
    with pytest.raises(ConfigError, match="pickled"):
        tuned(Tuning(name="lora", adapter=str(adapter[1])))


@pytest.mark.parametrize("change", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}])
def test_adapters_that_cannot_be_merged_exactly_are_refused(adapter, change):
    config = adapter[1] / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    with pytest.raises(ConfigError, match="plain LoRA"):
        tuned(Tuning(name="lora", adapter=str(adapter[1])))
