"""One model over several devices: which places are legal, that no block is split, and that hooks change no number."""

import copy

import pytest
import torch
from accelerate import dispatch_model, infer_auto_device_map
from accelerate.utils import get_balanced_memory
from pytorch_lightning import LightningModule
from torch import nn

from kinnari.errors import ConfigError
from kinnari.functional.labels import shift_targets
from kinnari.models.head import install_loss_head
from kinnari.models.load import load_model
from kinnari.models.placement import Placement, free_memory, is_spread, places_of, release_head
from kinnari.strategies.ddp import SingleProcess
from kinnari.strategies.tuning import Tuning, apply_tuning
from tests.kinnari.models.specs import LLAMA_TOY, t5_spec, toy_spec

IDS = torch.tensor([[6, 70, 71, 200, 33, 9], [1, 80, 81, 82, 83, 2]])
BIG = {"num_hidden_layers": 4, "hidden_size": 32, "num_attention_heads": 4, "vocab_size": 300}
FAMILIES = {
    "llama": toy_spec(toy={**LLAMA_TOY, **BIG, "tie_word_embeddings": False}),
    "llama_tied": toy_spec(toy={**LLAMA_TOY, **BIG, "tie_word_embeddings": True}),
    "qwen3": toy_spec(toy={**LLAMA_TOY, **BIG, "model_type": "qwen3", "head_dim": 8}, block_classes=["Qwen3DecoderLayer"]),
    "gemma3": toy_spec(toy={**LLAMA_TOY, **BIG, "model_type": "gemma3_text", "head_dim": 8}, block_classes=["Gemma3DecoderLayer"]),
    "xglm": toy_spec(
        toy={"model_type": "xglm", "d_model": 32, "ffn_dim": 64, "num_layers": 4, "attention_heads": 4, "vocab_size": 300,
             "max_position_embeddings": 16},
        block_classes=["XGLMDecoderLayer"],
    ),
    "bloom": toy_spec(
        toy={"model_type": "bloom", "hidden_size": 32, "n_layer": 4, "n_head": 4, "vocab_size": 300}, block_classes=["BloomBlock"]
    ),
    "opt": toy_spec(
        toy={"model_type": "opt", "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 300},
        block_classes=["OPTDecoderLayer"],
    ),
    "falcon": toy_spec(
        toy={"model_type": "falcon", "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 300},
        block_classes=["FalconDecoderLayer"],
    ),
    "pangu": toy_spec(
        toy={"model_type": "pangu", "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 300},
        block_classes=["PanguBlock"],
    ),
    "glm": toy_spec(
        toy={"model_type": "glm_chinese", "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 300},
        block_classes=["GLMBlock"],
    ),
    "t5": t5_spec(),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINNARI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


# --- which places ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"device_map": "balance"}, "auto, balanced, sequential"),
        ({"device_map": {}, "max_memory": {}}, "places nothing"),
        ({"device_map": {"lm_head": "cuda:1"}}, "name GPUs by number"),
        ({"device_map": {"lm_head": -1}}, "-1"),
        ({"device_map": {"lm_head": True}}, "True"),
        ({"max_memory": {"disk": "1GiB"}}, "'disk'"),
    ],
)
def test_places_that_mean_nothing_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        Placement(**{"device_map": "auto", "max_memory": {0: "1GiB"}, **values})


def test_only_host_memory_offloads():
    assert not Placement(device_map="auto", max_memory={0: "1GiB", 1: 5}).offloads
    assert Placement(device_map="auto", max_memory={0: "1GiB", "cpu": "9GiB"}).offloads
    assert Placement(device_map={"model": 0, "lm_head": "cpu"}, max_memory={}).offloads


def test_more_gpus_than_there_are_is_told():
    with pytest.raises(ConfigError, match=r"hw\.devices=64 GPUs .* this process sees"):
        free_memory(64)


def test_weights_that_do_not_fit_are_not_left_on_disk():
    with pytest.raises(ConfigError, match=r"do not fit into \{0: 1000\}.*host memory too"):
        load_model(toy_spec(), dtype=torch.float32, placement=Placement(device_map="auto", max_memory={0: 1000}))


# --- what accelerate makes of it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_stay_whole_and_tied_weights_together(family):
    spec = FAMILIES[family]
    model = load_model(spec, dtype=torch.float32)
    blocks = {name: module for name, module in model.named_modules() if type(module).__name__ in spec.block_classes}
    assert len(blocks) >= 4 and {type(block).__name__ for block in blocks.values()} <= set(model._no_split_modules)
    size = sum(parameter.numel() * 4 for parameter in model.parameters())
    fair = get_balanced_memory(model, {0: size, 1: size, 2: size}, no_split_module_classes=model._no_split_modules)
    places = infer_auto_device_map(model, max_memory=fair, no_split_module_classes=model._no_split_modules)
    assert len(set(places.values())) > 1 and set(places.values()) <= {0, 1, 2}

    def device_of(name):
        return next(places[prefix] for i in range(name.count(".") + 1, -1, -1) if (prefix := ".".join(name.split(".")[:i])) in places)

    for name, block in blocks.items():
        assert len({device_of(f"{name}.{inner}") for inner, _ in block.named_parameters()}) == 1, name
    by_memory = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        by_memory.setdefault(id(parameter), set()).add(device_of(name))
    assert all(len(devices) == 1 for devices in by_memory.values())
    order = [device_of(f"{name}.{next(iter(dict(block.named_parameters())))}") for name, block in blocks.items()]
    assert order == sorted(order)  # one after the other: a micro-batch passes each border once


def dispatched(model):
    """`model` with the hooks of a spread one, all on the CPU: what hooks may break is the same."""
    places = dict.fromkeys((name for name, module in model.named_modules() if not list(module.children()) and module.state_dict()), "cpu")
    return dispatch_model(model, places, force_hooks=True, skip_keys=model._skip_keys_device_placement)


def step(model, seq2seq):
    """Loss and gradients of a training step with the loss in the head."""
    head = install_loss_head(model)
    model.train()
    targets = IDS if seq2seq else shift_targets(IDS)
    extra = {"decoder_input_ids": IDS} if seq2seq else {}
    with head.loss_of(targets):
        nll_sum = model(input_ids=IDS, use_cache=False, **extra).logits[0]
    nll_sum.backward()
    return nll_sum.detach(), {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("family", ["llama", "llama_tied", "xglm", "bloom", "t5"])
def test_a_training_step_under_hooks_is_the_plain_one(family, tuning):
    spec = FAMILIES[family]
    settings = Tuning(name=tuning, targets="all-linear" if tuning == "lora" else None, gradient_checkpointing=True)
    results = []
    for hooked in (False, True):
        model = load_model(toy_spec(**{**vars(spec), "toy": {**spec.toy, "dropout": 0.0, "dropout_rate": 0.0}}), dtype=torch.float32)
        if hooked:
            model = dispatched(model)
            assert "forward" in vars(model.get_output_embeddings())
            release_head(model)
            assert "forward" not in vars(model.get_output_embeddings())
        torch.manual_seed(0)
        results.append(step(apply_tuning(model, settings, spec), spec.architecture == "seq2seq"))
    (plain_loss, plain), (hooked_loss, hooked) = results
    assert plain_loss == hooked_loss and plain.keys() == hooked.keys() and plain
    assert all(torch.equal(plain[name], hooked[name]) for name in plain)


def test_a_released_head_still_brings_its_input_to_its_own_device():
    model = load_model(toy_spec(), dtype=torch.float32)
    wanted = model(IDS).logits
    released = dispatched(copy.deepcopy(model))
    release_head(released)
    release_head(released)  # nothing left to do
    assert torch.equal(released(IDS).logits, wanted)
    head = released.lm_head.to("meta")  # stands in for a second device
    assert head(torch.zeros(1, 2, 64)).device.type == "meta"


def test_a_model_on_one_device_is_left_alone():
    model = load_model(toy_spec(), dtype=torch.float32)
    release_head(model)
    assert places_of(model) == {} and not is_spread(model) and not model.lm_head._forward_pre_hooks


# --- Lightning ------------------------------------------------------------------------------------------------------------


class Module(LightningModule):
    def __init__(self, model):
        super().__init__()
        self.model, self.beside = model, nn.Linear(2, 2)


def test_the_strategy_moves_a_spread_model_nowhere_and_the_rest_to_the_first_device():
    model = load_model(toy_spec(), dtype=torch.float32)
    model.hf_device_map = {"model": 0, "lm_head": 1}
    strategy = SingleProcess(device=torch.device("meta"))  # where a model that is moved would lose its numbers
    strategy.connect(Module(model))
    strategy.model_to_device()
    assert is_spread(strategy.model) and {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    assert strategy.model.beside.weight.is_meta and strategy.model.device.type == "meta"
    model.hf_device_map = {"": 0}  # quantised weights on one GPU: Lightning may do as it always does
    strategy.model_to_device()
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
