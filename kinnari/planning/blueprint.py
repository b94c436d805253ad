"""The real module of a run without its numbers: on the meta device, as deep as wanted, tuned, frozen and quantised as the run would.

Blocks that are built alike are kinds; a blueprint of few blocks of each kind says what one more of them costs.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from kinnari.models.attention import attention_to_load, install_attention
from kinnari.models.backbone import Blocks, blocks_of, checkpoint_frozen, freeze_bottom, freeze_untied_head, head_of, trainable_block_count
from kinnari.models.half_precision import guard_float16
from kinnari.models.load import read_config
from kinnari.models.lora_layers import fuse_lora
from kinnari.models.quantisable import quantisable_layers
from kinnari.models.shrink import architecture_config
from kinnari.models.source import model_source, register_own_family
from kinnari.models.spec import ModelSpec
from kinnari.models.toy import empty_model, toy_settings
from kinnari.planning.packed_layers import quantise
from kinnari.planning.request import Freezing
from kinnari.strategies.tuning import Tuning, apply_tuning, quantization_config

_DECODER_DEPTHS = ("num_decoder_layers", "decoder_layers")


@dataclass(frozen=True)
class Block:
    """What tells a repeated layer from others: blocks that are equal here cost the same.

    Attributes:
        stack: "encoder" or "decoder".
        variant: what the config says of this layer alone (a sliding window, no rotation).
        frozen: whether `freeze_bottom` freezes it.
    """

    stack: str
    variant: tuple[Any, ...]
    frozen: bool


@dataclass(frozen=True)
class Shapes:
    """Config and blocks of a model, bottom to top.

    Attributes:
        config: of the whole model.
        tied: as `kinnari.models.toy.empty_model` takes it.
        blocks: every one.
    """

    config: PreTrainedConfig
    tied: bool | None
    blocks: tuple[Block, ...]

    @property
    def counts(self) -> Counter[Block]:
        return Counter(self.blocks)


def shapes_of(spec: ModelSpec, freezing: Freezing | None = None) -> Shapes:
    """The shapes that `spec` stands for, and what of its blocks is frozen.

    Taken from the model file's own `config`; a local folder's config.json goes before it, and a hub's is read where the file has none.

    Raises:
        ConfigError: there is no config to be had, or `freezing` is out of range.
    """
    config, tied = _config(spec)
    config = copy.deepcopy(config)
    config._attn_implementation = _attention(config, spec)
    if spec.add_tokens:  # at most; some families have rows to spare
        text = config.get_text_config(decoder=True)
        text.vocab_size += len(spec.add_tokens)
    depths = _depths(config)
    frozen = 0
    if freezing is not None and freezing.fraction:
        total = sum(depths.values())
        frozen = total - trainable_block_count(total, freezing.fraction)
    variants = list(zip(*_per_layer(config).values(), strict=True)) or [()] * depths["decoder"]
    blocks = [Block("encoder", (), False)] * depths["encoder"] + [Block("decoder", variant, False) for variant in variants]
    return Shapes(config, tied, tuple(replace(block, frozen=i < frozen) for i, block in enumerate(blocks)))


def _config(spec: ModelSpec) -> tuple[PreTrainedConfig, bool | None]:
    if spec.shrunk or (spec.toy is not None and spec.path is None):
        register_own_family(str((spec.toy or spec.config or {}).get("model_type")))
        settings = toy_settings(spec)
        return architecture_config(settings), settings.get("tie_word_embeddings")
    is_local = spec.path is not None and Path(spec.path).expanduser().exists()
    if spec.config is not None and not is_local:
        register_own_family(str(spec.config["model_type"]))
        return architecture_config(spec.config), spec.config.get("tie_word_embeddings")
    config = read_config(spec, model_source(spec, weights=False))
    return config, config.tie_word_embeddings


def _attention(config: PreTrainedConfig, spec: ModelSpec) -> str | None:
    # the flash package's kernel keeps what torch's flash kernel keeps, and need not be installed here
    return attention_to_load(config, "sdpa" if spec.attention == "flash_attention_2" else spec.attention)


def _depths(config: PreTrainedConfig) -> dict[str, int]:
    depth = config.num_hidden_layers
    if not config.is_encoder_decoder:
        return {"encoder": 0, "decoder": depth}
    named = [vars(config)[name] for name in _DECODER_DEPTHS if name in vars(config)]
    return {"encoder": depth, "decoder": named[0] if named else depth}


def _per_layer(config: PreTrainedConfig) -> dict[str, Sequence[Any]]:
    """Fields of the config that say something of each layer, such as `layer_types`."""
    if config.is_encoder_decoder:
        return {}
    depth = config.num_hidden_layers
    fields = {name: getattr(config, name) for name in type(config).__dataclass_fields__}
    return {name: value for name, value in fields.items() if isinstance(value, list | tuple) and len(value) == depth}


def with_blocks(shapes: Shapes, blocks: Sequence[Block]) -> Shapes:
    """The same model of other blocks, kinds that `shapes` has."""
    config = copy.deepcopy(shapes.config)
    encoder, decoder = (sum(block.stack == stack for block in blocks) for stack in ("encoder", "decoder"))
    for name in _per_layer(shapes.config):
        kept = [block.variant[list(_per_layer(shapes.config)).index(name)] for block in blocks]
        setattr(config, name, kept)
    config.num_hidden_layers = encoder if config.is_encoder_decoder else decoder
    for name in _DECODER_DEPTHS:
        if config.is_encoder_decoder and name in vars(config):
            setattr(config, name, decoder)
    return Shapes(config, shapes.tied, tuple(blocks))


def few_blocks(shapes: Shapes) -> list[Block]:
    """One block of each kind in the model's order, at least two to a stack where it has them."""
    counts = shapes.counts
    chosen: Counter[Block] = Counter(dict.fromkeys(counts, 1))
    for stack in ("encoder", "decoder"):
        kinds = [block for block in counts if block.stack == stack]
        if len(kinds) == 1 and counts[kinds[0]] > 1:
            chosen[kinds[0]] = 2
    return [block for block in counts for _ in range(chosen[block])]


def one_more(blocks: Sequence[Block], kind: Block) -> list[Block]:
    """`blocks` with another `kind` beside the first of it."""
    place = list(blocks).index(kind)
    return [*blocks[:place], kind, *blocks[place:]]


@dataclass(frozen=True)
class Blueprint:
    """A module on the meta device, ready for a forward.

    Attributes:
        model: plain or in PEFT.
        head: its loss head, None for an encoder.
        blocks: of the model.
    """

    model: Any
    head: Any
    blocks: Blocks


@dataclass(frozen=True, kw_only=True)
class Making:
    """How a blueprint is made; the fields of a run that change its module.

    Attributes:
        weights: dtype that frozen weights are held in.
        trained: dtype of what is trained.
        compute: dtype of matrix products, for what is expanded from few bits.
        fused: whether LoRA layers are fused, as they are where no strategy shards.
        storage: dtype that packed 4-bit numbers are kept in.
        optimized: dtype of what the optimizer is given: the trained parameters, or DeepSpeed's float32 masters.
        buffers: dtype of floating-point buffers where the whole module is cast (bf16-true, DeepSpeed); None leaves them.
    """

    weights: torch.dtype
    trained: torch.dtype
    compute: torch.dtype
    fused: bool
    storage: torch.dtype
    optimized: torch.dtype = torch.float32
    buffers: torch.dtype | None = None


def build(spec: ModelSpec, shapes: Shapes, tuning: Tuning | None, making: Making, freezing: Freezing | None = None) -> Blueprint:
    """The module of these shapes on the meta device, in train mode.

    Args:
        tuning: None for a model that only computes (a reward model that scores).
        freezing: of task=reward.
    """
    quantization = None if tuning is None else quantization_config(tuning, making.compute, sharded=False)
    with torch.device("meta"):
        with quantisable_layers(shapes.config, quantization):
            model: Any = empty_model(shapes.config, spec.architecture, tied=shapes.tied)
        install_attention(model, "sdpa" if spec.attention == "flash_attention_2" else spec.attention)
        if tuning is not None and quantization is not None:
            quantise(model, tuning, quantization, making.compute, making.storage)
        _cast(model, making.weights, quantised=quantization is not None)
        if tuning is not None:
            model = apply_tuning(model, replace(tuning, adapter=None), replace(spec, add_tokens=[]), trainable_dtype=making.trained)
        head = head_of(model)
        guard_float16(model)
        if freezing is not None:
            freeze_untied_head(model, head)
            _freeze(model, spec, shapes, freezing)
        if making.fused:
            fuse_lora(model)
        if making.buffers is not None:
            for buffer in model.buffers():
                buffer.data = buffer.data.to(making.buffers) if buffer.is_floating_point() else buffer.data
    model.config.use_cache = False
    return Blueprint(model.train(), head, blocks_of(model, spec.block_classes))


def _freeze(model: Any, spec: ModelSpec, shapes: Shapes, freezing: Freezing) -> None:
    frozen, total = sum(block.frozen for block in shapes.blocks), len(shapes.blocks)
    # a fraction that leaves just the others: (frozen - 1/2) of them
    fraction = round((frozen - 0.5) / total, 6) if frozen else 0.0
    report = freeze_bottom(model, spec.block_classes, fraction, embeddings=freezing.train_embeddings)
    if freezing.checkpoint_frozen and report.passes_gradient:
        checkpoint_frozen(model, spec.block_classes)


def _cast(model: PreTrainedModel, dtype: torch.dtype, *, quantised: bool) -> None:
    """Parameters alone, as `from_pretrained(dtype=)` casts: buffers that no file holds (angles of rotations) stay as they are."""
    wide: list[str] = list(model._keep_in_fp32_modules or []) if dtype == torch.float16 or quantised else []
    wide += list(model._keep_in_fp32_modules_strict or [])
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.dtype == torch.float32:
            keeps = any(part in name.split(".") for part in wide)
            parameter.data = parameter.data.to(torch.float32 if keeps else dtype)
