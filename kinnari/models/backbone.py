"""The body of a language model as reward, value and policy heads see it: its blocks, what of them is trained, what the last one says.

    blocks = blocks_of(model, spec.block_classes)
    report = freeze_bottom(model, spec.block_classes, fraction=0.7)
    hidden = last_hidden_states(model, head, input_ids=ids, attention_mask=mask)        # [B, T, H]

What frozen blocks cost. torch keeps activations for a gradient that somebody below wants. With the embeddings frozen too nobody does:
the frozen bottom then keeps nothing at all, and needs no `no_grad` for it. With trainable embeddings (the published recipe) the gradient
has to pass through every block: a frozen one saves its weights' gradients, their optimizer state and the inputs of its matrix products,
but not the inputs of its norms, activation functions and attention; `checkpoint_frozen` computes those again instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from kinnari.errors import ConfigError
from kinnari.models.encoder import encoder_positions
from kinnari.models.head import LossHead, base_model_of, install_loss_head


@dataclass(frozen=True)
class Blocks:
    """The repeated layers, each tuple from bottom to top.

    Attributes:
        encoder: of an encoder-decoder; empty for models of one stack.
        decoder: of an encoder-decoder, or the only stack there is.
    """

    encoder: tuple[nn.Module, ...]
    decoder: tuple[nn.Module, ...]

    @property
    def bottom_to_top(self) -> tuple[nn.Module, ...]:
        """All of them; a decoder stands on its encoder."""
        return self.encoder + self.decoder


@dataclass(frozen=True)
class Frozen:
    """What `freeze_bottom` left to train.

    Attributes:
        frozen_blocks: blocks without a trainable parameter, from the bottom.
        trainable_blocks: blocks above them.
        trainable_parameters: parameters that take a gradient, tied ones once; the output head counts where it is the embedding.
        passes_gradient: whether something below the frozen blocks is trained, so that they keep activations for it.
    """

    frozen_blocks: int
    trainable_blocks: int
    trainable_parameters: int
    passes_gradient: bool


def blocks_of(model: nn.Module, block_classes: Sequence[str]) -> Blocks:
    """The blocks of a transformers model, bare, in PEFT, quantised or sharded.

    Args:
        block_classes: names of their classes (`ModelSpec.block_classes`).

    Raises:
        ConfigError: there is none of these classes, or the model is not one of transformers.
    """
    base, names = base_model_of(model), set(block_classes)

    def found(part: nn.Module) -> tuple[nn.Module, ...]:
        # by all names of the class: FSDP2 derives one of its own from it
        return tuple(module for module in part.modules() if names & {cls.__name__ for cls in type(module).__mro__})

    below = found(base.get_encoder()) if base.config.is_encoder_decoder else ()
    blocks = Blocks(below, tuple(block for block in found(base) if not any(block is other for other in below)))
    if not blocks.bottom_to_top:
        raise ConfigError(
            f"{type(base).__name__} has no block of class {', '.join(block_classes) or '(none given)'}; set model.block_classes to the "
            f"class of its repeated layer ({', '.join(sorted(base._no_split_modules or [])) or 'see the modelling file'})."
        )
    return blocks


def trainable_block_count(blocks: int, fraction: float) -> int:
    """How many of `blocks` stay trainable when a `fraction` is frozen: the whole part of what is left, at least one.

    0.7 leaves 7 of 24, 9 of 32, 12 of 40, 14 of 48. Counted in exact decimals: (1 - 0.9) * 20 is 1.99… in binary.

    Raises:
        ConfigError: fraction outside of [0, 1).
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"freeze_fraction={fraction} must be at least 0 (nothing frozen) and below 1 (one block always trains).")
    return max(1, math.floor((1 - Fraction(str(fraction))) * blocks))


def freeze_bottom(model: nn.Module, block_classes: Sequence[str], fraction: float = 0.7, *, embeddings: bool = True) -> Frozen:
    """Freezes the lowest blocks of `model`; what is frozen already stays so. Call it before the optimizer is made and before sharding.

    Embeddings, final norm and head keep what they have; adapters inside a frozen block are frozen with it. An untied output head that is
    not called (`hidden_states`) is the caller's to freeze, see `freeze_untied_head`.

    Args:
        fraction: share of the blocks to freeze, see `trainable_block_count`; 0 freezes none. An encoder is below its decoder.
        embeddings: leave the embeddings trainable, as the published reward models do. Else everything below the lowest trainable block is
            frozen: token, position and query embeddings, norms of theirs, and what else belongs to an encoder that is frozen whole. A
            tied output head is the token embedding.

    Raises:
        ConfigError: as `blocks_of` and `trainable_block_count`.
    """
    blocks = blocks_of(model, block_classes)
    every = blocks.bottom_to_top
    frozen = every[: -trainable_block_count(len(every), fraction)] if fraction else ()
    for block in frozen:
        block.requires_grad_(False)
    base = base_model_of(model)
    below = list(_embedding_parameters(base, every))
    if 0 < len(blocks.encoder) <= len(frozen):
        below += list(base.get_encoder().parameters())
    if not embeddings:
        for parameter in below:
            parameter.requires_grad_(False)
    return Frozen(
        frozen_blocks=len(frozen),
        trainable_blocks=len(every) - len(frozen),
        trainable_parameters=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        passes_gradient=bool(frozen) and any(parameter.requires_grad for parameter in below),
    )


def _embedding_parameters(base: PreTrainedModel, blocks: Sequence[nn.Module]) -> Iterator[nn.Parameter]:
    """Parameters of embeddings and of their norms outside of the blocks (T5's position bias is inside its first block)."""
    inside = {id(module) for block in blocks for module in block.modules()}
    for name, module in base.named_modules():
        # by name for what is no table: BLOOM's word_embeddings_layernorm, BERT's embeddings.LayerNorm, OPT's project_in
        if id(module) not in inside and (isinstance(module, nn.Embedding) or "embed" in name or name.endswith("project_in")):
            yield from module.parameters(recurse=False)


def head_of(model: nn.Module) -> LossHead | None:
    """`install_loss_head` for models that have an output head; None for an encoder, which has none."""
    return None if base_model_of(model).get_output_embeddings() is None else install_loss_head(model)


def freeze_untied_head(model: nn.Module, head: LossHead | None) -> bool:
    """Freezes an output head of its own, which a model that only gives hidden states never calls; returns whether it did.

    A head tied to the token embedding is left alone: that is read at the other end.
    """
    if head is None:
        return False
    embedding: Any = base_model_of(model).get_input_embeddings()
    if head.weight is embedding.weight:
        return False
    head.requires_grad_(False)
    return True


def checkpoint_frozen(model: nn.Module, block_classes: Sequence[str]) -> int:
    """Makes the frozen blocks keep their inputs alone and compute the rest again in the backward; returns how many they are.

    For frozen blocks below trainable embeddings (`Frozen.passes_gradient`); the trainable ones keep all they need and run once. Where
    all blocks are to be checkpointed, `gradient_checkpointing` of the tuning does that.

    Raises:
        ConfigError: the family cannot checkpoint its blocks.
    """
    base, every = base_model_of(model), blocks_of(model, block_classes).bottom_to_top
    if not base.supports_gradient_checkpointing:
        raise ConfigError(
            f"{type(base).__name__} cannot compute its blocks again; freeze the embeddings too, then frozen blocks keep nothing."
        )
    trainable: list[Any] = [block for block in every if any(parameter.requires_grad for parameter in block.parameters())]
    if not base.is_gradient_checkpointing:  # else all blocks are computed again, and the user wanted that
        # reentrant checkpoints would lose the gradients of adapters above a frozen input
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        for block in trainable:
            block.gradient_checkpointing = False
    return len(every) - len(trainable)


def hidden_size_of(model: nn.Module, head: LossHead | None) -> int:
    """Width H of `last_hidden_states`. Not always the config's hidden_size: OPT-350m gives its head half of that."""
    if head is not None:
        return head.in_features
    return int(base_model_of(model).config.get_text_config(decoder=True).hidden_size)


def last_hidden_states(model: nn.Module, head: LossHead | None, **inputs: Any) -> Tensor:
    """[B, T, H] of one forward: what the output head reads, or the last hidden states of a model without one (an encoder).

    Args:
        head: what `head_of` returned for this model.
        inputs: arguments of the model's forward; of an encoder that learned its positions they are counted here, over real tokens.
    """
    if head is None:
        mask = inputs.get("attention_mask")
        positions = {} if mask is None else encoder_positions(base_model_of(model), mask)
        return model(**positions, **inputs).last_hidden_state
    with head.hidden_states():
        return model(**inputs, use_cache=False).logits
