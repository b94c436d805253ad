"""What models do to their logits after the output head: softcaps and scales, which a head that is asked for no logits does itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel

from kinnari.errors import ConfigError


@dataclass(frozen=True)
class PostHead:
    """What a model does to its logits after the head, and where it reads that from.

    The head does it itself while it is asked for something else, and the model is kept from doing it to the answer by setting the
    attribute it reads to the value that changes nothing.
    """

    owner: Any
    """The object the model reads at every forward: its config (Gemma, Granite) or itself (Cohere)."""
    attribute: str
    neutral: Any
    kind: str
    """softcap | multiply | divide"""

    def settings(self) -> dict[str, Any]:
        """Arguments for `linear_cross_entropy`, from the value of this moment."""
        value = vars(self.owner)[self.attribute]
        if value is None:
            return {}
        if self.kind == "softcap":
            return {"softcap": value}
        return {"logit_scale": value if self.kind == "multiply" else 1.0 / value}

    @contextmanager
    def neutralised(self) -> Iterator[None]:
        value = vars(self.owner)[self.attribute]
        setattr(self.owner, self.attribute, self.neutral)
        try:
            yield
        finally:
            setattr(self.owner, self.attribute, value)


# Which models of transformers 5.23 change their logits after the head, by config.model_type. A model absent here that
# has such a setting in its config is refused: its loss would be wrong without a sign.
_SOFTCAPPED = {"gemma2", "gemma3_text", "gemma3n_text", "gemma4_text", "vaultgemma", "nanochat"}
_MULTIPLIED = {"cohere", "cohere2"}
_DIVIDED = {"granite", "granite_swa", "granitemoe", "granitemoe_swa", "granitemoeshared", "granitemoehybrid"}
_LOGIT_SETTINGS = {
    "final_logit_softcapping": None,
    "logits_soft_cap": None,
    "logit_scale": 1.0,
    "logits_scaling": 1.0,
    "lm_head_multiplier": 1.0,
    "output_multiplier": 1.0,
}


def post_head_of(base: PreTrainedModel) -> PostHead | None:
    """What `base` does to its logits after the head, None for nothing.

    Raises:
        ConfigError: the config (or a `final_logits_bias`) speaks of an operation that is not known for this model type.
    """
    config = base.config
    if config.model_type in _SOFTCAPPED:
        return PostHead(config, "final_logit_softcapping", None, "softcap")
    if config.model_type in _MULTIPLIED:
        return PostHead(base, "logit_scale", 1.0, "multiply")
    if config.model_type in _DIVIDED:
        return PostHead(config, "logits_scaling", 1.0, "divide")
    unknown = _unknown_logit_settings(config)
    if "final_logits_bias" in dict(base.named_buffers(recurse=False)):
        unknown["final_logits_bias"] = "a buffer of the model"
    if unknown:
        raise ConfigError(
            f"model type {config.model_type!r} changes its logits after the head ({unknown}) in a way the loss head does "
            "not know: its loss would be wrong. Use a model of another family, or add its type to kinnari/models/post_head.py"
        )
    return None


def _unknown_logit_settings(config: PretrainedConfig) -> dict[str, Any]:
    # the language part of a composite (vision + text, encoder + decoder) keeps such settings in a config of its own
    settings = {**vars(config.get_text_config(decoder=True)), **vars(config)}
    return {name: settings[name] for name, neutral in _LOGIT_SETTINGS.items() if settings.get(name, neutral) not in (neutral, None)}
