"""SDPA for families that transformers 5.23 gives eager attention alone: their attention layers, their parameters, another kernel.

xglm     attention layers become `SdpaXGLMAttention`
bloom    attention layers become `SdpaBloomAttention`; ALiBi is part of the product of query and key, so no bias is ever stored

A layer's class is swapped on the loaded model: parameters, names, hooks and the files a model writes stay as they were, and plain
transformers loads what was saved. `model.config._attn_implementation` then says "sdpa", which makes transformers build boolean masks,
or none for rows without padding. It is not written to config.json; a second model made of this very config object (`from_config`) needs
`attn_implementation="eager"`, because the class itself still knows no other.
"""

import importlib

from transformers import PreTrainedConfig, PreTrainedModel

FAMILIES = {"xglm": "kinnari.models.attention.xglm", "bloom": "kinnari.models.attention.bloom"}


def attention_to_load(config: PreTrainedConfig, attention: str) -> str | None:
    """What `from_pretrained` is told for a value of `model.attention`; None leaves the choice to transformers.

    A family of this folder is loaded with eager attention for "auto" and "sdpa", and `install_attention` does the rest.
    """
    if attention in ("auto", "sdpa") and _replaceable(config):
        return "eager"
    return None if attention == "auto" else attention


def install_attention(model: PreTrainedModel, attention: str) -> None:
    """Gives a loaded model the kernel that `model.attention` names, where transformers has none for its family.

    Args:
        model: as `from_pretrained(..., attn_implementation=attention_to_load(config, attention))` returned it, quantised or not.
        attention: "auto" and "sdpa" install SDPA; any other value changes no result. Bloom learns to take the 4-D mask of
            packed rows with either.
    """
    if not _replaceable(model.config):
        return
    family = importlib.import_module(FAMILIES[str(model.config.model_type)])
    if attention in ("auto", "sdpa"):
        family.install_sdpa(model)
        model.config._attn_implementation = "sdpa"
    else:
        family.keep_eager(model)


def _replaceable(config: PreTrainedConfig) -> bool:
    """Known here, and without the two variants that nothing published uses: cross-attention, and sums cut into slices."""
    if config.model_type == "xglm":
        return not config.add_cross_attention
    if config.model_type == "bloom":
        return not (config.slow_but_exact and config.pretraining_tp > 1)
    return False
