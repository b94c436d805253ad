"""Blocks found in any family, the published counts of frozen ones, and what frozen blocks keep in memory."""

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from kinnari.errors import ConfigError
from kinnari.models.backbone import (
    blocks_of,
    checkpoint_frozen,
    freeze_bottom,
    freeze_untied_head,
    hidden_size_of,
    last_hidden_states,
    trainable_block_count,
)
from kinnari.models.glm import GLMConfig, GLMForConditionalGeneration
from kinnari.models.head import install_loss_head
from kinnari.models.pangu import PanguConfig, PanguForCausalLM
from tests.kinnari.models.glm.toys import ROW, SHORT, padded
from tests.kinnari.models.glm.toys import toy_model as toy_glm
from tests.kinnari.models.pangu.toy import toy_model as toy_pangu
from tests.kinnari.models.test_head import LLAMA, SEQ2SEQ, SPECIAL, T5, batch_for, build, lora

BLOCKS = {
    "llama": "LlamaDecoderLayer", "qwen2": "Qwen2DecoderLayer", "gpt2": "GPT2Block", "xglm": "XGLMDecoderLayer", "bloom": "BloomBlock",
    "opt": "OPTDecoderLayer", "falcon": "FalconDecoderLayer", "gpt_neox": "GPTNeoXLayer", "gemma3": "Gemma3DecoderLayer",
    "cohere": "CohereDecoderLayer", "t5": "T5Block", "flan_t5": "T5Block", "mt5": "MT5Block",
}  # fmt: skip


def encoder_model(layers: int = 3) -> nn.Module:
    """A model of the kind system W scored its answers with: an encoder, no output head."""
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 40,
    }
    return AutoModel.from_config(AutoConfig.for_model("xlm-roberta", **SPECIAL, **sizes), add_pooling_layer=False)


def deep(family: str = "llama", layers: int = 10) -> nn.Module:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SPECIAL, **{**LLAMA, "num_hidden_layers": layers})
    return AutoModelForCausalLM.from_config(config).train()


class TestBlocksOf:
    @pytest.mark.parametrize("wrapped", [False, True])
    @pytest.mark.parametrize("family", BLOCKS)
    def test_blocks_stand_from_bottom_to_top_in_the_order_they_run(self, family, wrapped):
        base = build(family)
        model = lora(base) if wrapped else base
        blocks = blocks_of(model, [BLOCKS[family]])
        ran = []
        for block in blocks.bottom_to_top:
            block.register_forward_hook(lambda module, *_: ran.append(module))
        inputs, _, _ = batch_for(family, base)
        model(**inputs)
        assert ran == list(blocks.bottom_to_top)
        assert (len(blocks.encoder), len(blocks.decoder)) == ((2, 2) if family in SEQ2SEQ else (0, 2))

    def test_encoder_and_decoder_layers_of_different_classes_are_told_apart(self):
        sizes = {"d_model": 16, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
        model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model("bart", **SPECIAL, **sizes))
        blocks = blocks_of(model, ["BartDecoderLayer", "BartEncoderLayer"])
        assert [type(b).__name__ for b in blocks.bottom_to_top] == ["BartEncoderLayer"] * 3 + ["BartDecoderLayer"] * 2

    def test_a_class_derived_by_sharding_is_still_the_block(self):
        model = build("llama")
        layer = model.model.layers[0]
        layer.__class__ = type(f"FSDP{type(layer).__name__}", (type(layer),), {})
        assert len(blocks_of(model, ["LlamaDecoderLayer"]).decoder) == 2

    def test_an_encoder_alone_has_one_stack(self):
        assert len(blocks_of(encoder_model(), ["XLMRobertaLayer"]).decoder) == 3

    def test_a_wrong_class_is_answered_with_the_right_one(self):
        with pytest.raises(ConfigError, match=r"T5Block.*LlamaDecoderLayer"):
            blocks_of(build("llama"), ["T5Block"])
        with pytest.raises(ConfigError, match="this is Linear"):
            blocks_of(nn.Linear(1, 1), ["Linear"])


class TestCounts:
    @pytest.mark.parametrize(("layers", "trainable"), [(24, 7), (32, 9), (40, 12), (48, 14), (10, 3), (3, 1), (2, 1), (1, 1)])
    def test_seventy_percent_frozen_leaves_the_published_number_of_blocks(self, layers, trainable):
        assert trainable_block_count(layers, 0.7) == trainable

    @pytest.mark.parametrize(("fraction", "trainable"), [(0.9, 2), (0.5, 10), (0.0, 20), (0.99, 1), (0.8, 4), (0.35, 13)])
    def test_decimals_are_meant_as_they_are_written(self, fraction, trainable):
        assert trainable_block_count(20, fraction) == trainable  # (1 - 0.9) * 20 is 1.9999999999999996 in binary

    @pytest.mark.parametrize("fraction", [1.0, -0.1, 2])
    def test_a_fraction_that_is_none_is_refused(self, fraction):
        with pytest.raises(ConfigError, match="freeze_fraction"):
            trainable_block_count(4, fraction)

    @pytest.mark.parametrize(
        ("layers", "width", "heads", "blocks", "millions"),
        [(32, 2560, 32, 9, 815.7), (24, 1024, 16, 7, 131.2)],
        ids=["pangu-2.6B", "pangu-350M"],
    )
    def test_published_reward_models_have_the_published_size(self, layers, width, heads, blocks, millions):
        with torch.device("meta"):
            model = PanguForCausalLM(PanguConfig(hidden_size=width, num_layers=layers, num_heads=heads))
        report = freeze_bottom(model, ["PanguBlock"])
        by_hand = blocks * (12 * width**2 + 13 * width) + 40000 * width + 2 * 1024 * width + 2 * width  # and ln_f
        assert (report.frozen_blocks, report.trainable_blocks, report.trainable_parameters) == (layers - blocks, blocks, by_hand)
        assert round(by_hand / 1e6, 1) == millions
        assert report.passes_gradient

    def test_glm_10b_trains_fourteen_blocks(self):
        with torch.device("meta"):
            model = GLMForConditionalGeneration(GLMConfig(hidden_size=4096, num_layers=48, num_attention_heads=64))
        report = freeze_bottom(model, ["GLMBlock"], embeddings=False)
        assert (report.frozen_blocks, report.trainable_blocks, report.passes_gradient) == (34, 14, False)
        assert report.trainable_parameters == 14 * (12 * 4096**2 + 13 * 4096) + 2 * 4096  # the last LayerNorm


class TestFreezeBottom:
    @pytest.mark.parametrize("embeddings", [True, False])
    @pytest.mark.parametrize("family", ["pangu", "glm", "bloom", "xglm", "opt", "gpt2", "t5"])
    def test_frozen_means_no_gradient_and_the_rest_has_one(self, family, embeddings):
        own = {"pangu": toy_pangu, "glm": toy_glm}
        model = own[family]() if family in own else build(family)
        ids, mask = padded([ROW, SHORT], left=False)
        inputs = {"input_ids": ids, "attention_mask": mask} if family in own else batch_for(family, model)[0]
        inputs.pop("use_cache", None)
        head = install_loss_head(model)
        freeze_untied_head(model, head)
        classes = {"pangu": "PanguBlock", "glm": "GLMBlock"} | BLOCKS
        report = freeze_bottom(model, [classes[family]], 0.5, embeddings=embeddings)
        last_hidden_states(model, head, **inputs).square().sum().backward()
        for name, parameter in model.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, name
        frozen = blocks_of(model, [classes[family]]).bottom_to_top[: report.frozen_blocks]
        assert not any(p.requires_grad for block in frozen for p in block.parameters()) and len(frozen) >= 1
        assert report.passes_gradient == embeddings
        assert model.get_input_embeddings().weight.requires_grad == embeddings
        assert report.trainable_parameters == sum(p.numel() for p in {id(p): p for p in model.parameters() if p.requires_grad}.values())

    def test_adapters_in_frozen_blocks_are_frozen_and_the_base_stays_so(self):
        model = lora(deep(layers=4))
        freeze_bottom(model, ["LlamaDecoderLayer"], 0.5)
        trainable = {name.split(".layers.")[1].split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
        assert trainable == {"2", "3"}
        assert all("lora" in name for name, p in model.named_parameters() if p.requires_grad)

    def test_nothing_frozen_changes_nothing(self):
        model = deep(layers=2)
        report = freeze_bottom(model, ["LlamaDecoderLayer"], 0.0)
        assert report.frozen_blocks == 0 and all(p.requires_grad for p in model.parameters()) and not report.passes_gradient

    def test_a_decoder_stands_on_its_encoder(self):
        torch.manual_seed(0)
        model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model("t5", **SPECIAL, **{**T5, "num_layers": 4}))
        report = freeze_bottom(model, ["T5Block"], 0.7, embeddings=False)
        assert (report.frozen_blocks, report.trainable_blocks) == (6, 2)  # int(0.3 * 8)
        trainable = {name for name, p in model.named_parameters() if p.requires_grad}
        assert all(name.startswith(("decoder.block.2", "decoder.block.3", "decoder.final_layer_norm")) for name in trainable)


def kept_bytes(model: nn.Module, head, ids: torch.Tensor) -> int:
    """Bytes of activations that autograd keeps for the backward, parameters not counted."""
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = last_hidden_states(model, head, input_ids=ids).sum()
    total = sum(kept.values())
    loss.backward()
    return total


def frozen_deep(layers: int, *, embeddings: bool, checkpointed: bool = False, fraction: float = 0.7):
    model = deep(layers=layers)
    head = install_loss_head(model)
    freeze_untied_head(model, head)
    freeze_bottom(model, ["LlamaDecoderLayer"], fraction, embeddings=embeddings)
    if checkpointed:
        assert checkpoint_frozen(model, ["LlamaDecoderLayer"]) == layers - trainable_block_count(layers, fraction)
    return model, head


class TestMemory:
    IDS = torch.randint(3, 60, (4, 32), generator=torch.Generator().manual_seed(0))

    def test_frozen_blocks_below_frozen_embeddings_keep_nothing(self):
        ten, five = (kept_bytes(*frozen_deep(n, embeddings=False, fraction=f), self.IDS) for n, f in ((10, 0.7), (5, 0.4)))
        assert ten == five  # three trainable blocks in both, and seven or two frozen ones

    def test_trainable_embeddings_cost_less_than_training_and_checkpoints_less_again(self):
        everything = kept_bytes(*frozen_deep(10, embeddings=True, fraction=0.0), self.IDS)
        passing = kept_bytes(*frozen_deep(10, embeddings=True), self.IDS)
        again = kept_bytes(*frozen_deep(10, embeddings=True, checkpointed=True), self.IDS)
        nothing = kept_bytes(*frozen_deep(10, embeddings=False), self.IDS)
        assert nothing < again < passing < everything
        inputs_of_blocks = 7 * self.IDS.numel() * 16 * 4
        assert again - nothing < 2 * inputs_of_blocks

    def test_what_was_checkpointed_whole_stays_so(self):
        model = deep(layers=4)
        model.gradient_checkpointing_enable()
        freeze_bottom(model, ["LlamaDecoderLayer"], 0.5)
        assert checkpoint_frozen(model, ["LlamaDecoderLayer"]) == 2
        assert all(block.gradient_checkpointing for block in blocks_of(model, ["LlamaDecoderLayer"]).decoder)

    @pytest.mark.parametrize("family", ["xglm", "bloom", "gpt2"])
    def test_checkpointed_frozen_blocks_give_the_same_gradients(self, family):
        gradients = []
        for checkpointed in (False, True):
            model = build(family)
            head = install_loss_head(model)
            freeze_bottom(model, [BLOCKS[family]], 0.5)
            ran = []
            blocks = blocks_of(model, [BLOCKS[family]]).decoder
            for number, block in enumerate(blocks):
                inner = next(module for module in block.modules() if isinstance(module, nn.LayerNorm))
                inner.register_forward_hook(lambda *_, number=number, ran=ran: ran.append(number))
            if checkpointed:
                assert checkpoint_frozen(model, [BLOCKS[family]]) == 1
            inputs, _, _ = batch_for(family, model)
            inputs.pop("use_cache")
            last_hidden_states(model, head, **inputs).square().sum().backward()
            assert ran == ([0, 1, 0] if checkpointed else [0, 1])  # the frozen block runs again, the trained one does not
            gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        torch.testing.assert_close(gradients[0], gradients[1])


class TestHiddenStates:
    def test_width_is_what_the_head_reads_and_not_always_the_configs(self):
        config = AutoConfig.for_model("opt", **SPECIAL, hidden_size=16, word_embed_proj_dim=8, num_hidden_layers=1,
                                      num_attention_heads=2, ffn_dim=16)  # fmt: skip
        model = AutoModelForCausalLM.from_config(config)
        head = install_loss_head(model)
        assert hidden_size_of(model, head) == 8
        assert last_hidden_states(model, head, input_ids=torch.ones(1, 3, dtype=torch.int64)).shape == (1, 3, 8)

    def test_a_model_without_an_output_head_gives_its_last_hidden_states(self):
        model = encoder_model().eval()
        ids = torch.tensor([[5, 6, 7]])
        assert hidden_size_of(model, None) == 16
        assert torch.equal(last_hidden_states(model, None, input_ids=ids), model(ids).last_hidden_state)
        report = freeze_bottom(model, ["XLMRobertaLayer"], embeddings=False)
        assert (report.frozen_blocks, report.passes_gradient) == (2, False)

    def test_a_tied_head_stays_with_the_embedding(self):
        tied, untied = build("gpt2"), build("llama")
        assert not freeze_untied_head(tied, install_loss_head(tied)) and tied.get_input_embeddings().weight.requires_grad
        head = install_loss_head(untied)
        assert freeze_untied_head(untied, head) and not head.weight.requires_grad
