"""What Kinnari must know about a model before its weights are read; each file of `conf/model/` is one such record."""

from dataclasses import dataclass, field
from typing import Any, Literal

from kinnari.errors import ConfigError

Architecture = Literal["causal", "seq2seq", "encoder"]
PackingMethod = Literal["position_ids", "mask4d", "none"]

CHOICES: dict[str, tuple[str, ...]] = {
    "architecture": ("causal", "seq2seq", "encoder"),
    "dtype": ("auto", "float32", "bfloat16", "float16"),
    "attention": ("auto", "sdpa", "eager", "flash_attention_2"),
    "packing": ("position_ids", "mask4d", "none"),
}


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One backbone.

    Attributes:
        name: the file name in `conf/model/`, used in logs and cache folders.
        architecture: "causal" (decoder only), "seq2seq" (encoder-decoder) or "encoder", which task=reward alone can train.
        path: Hugging Face hub id, local folder or `.gguf` file; None when `package` or `toy` gives the weights.
        package: name of an installed registry package that ships a GGUF file.
        toy: config arguments (with `model_type`) of a random-weight model with a byte tokenizer.
        lora_targets: last components of the names of the linear layers that LoRA adapts by default.
        block_classes: class names of the repeated blocks; sharded strategies wrap these.
        max_length: default number of tokens per record or pack (tokens, not characters).
        dtype: dtype of the weights; "auto" lets tuning and hardware decide.
        attention: attention kernel; "auto" is SDPA where the family has it, else eager.
        packing: how block-diagonal packing is exact for this family, see `kinnari.models.packing`.
        pad_token: an existing token that pads when the tokenizer names none; None means the EOS token.
        trust_remote_code: whether code of the model repository may run. Off unless a spec asks for it.
        config: shapes of the published checkpoint as its config.json has them (with `model_type`); None for what is made here alone.
        parameters: number of parameters of the published checkpoint, tied ones counted once; None where it varies.
        shrunk: random weights at toy size of the same architecture instead of the published ones, with a byte tokenizer.
        add_tokens: tokens to add to the vocabulary; their rows begin as the mean of the others.
        licence: SPDX id or name of the weights' licence.
        notice: terms shown to the user before the weights are used, or None.

    Raises:
        ConfigError: a field is not one of its choices, or not exactly one source of weights is named.
    """

    name: str
    architecture: Architecture
    path: str | None
    package: str | None
    toy: dict[str, Any] | None
    lora_targets: list[str]
    block_classes: list[str]
    max_length: int
    dtype: Literal["auto", "float32", "bfloat16", "float16"]
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"]
    packing: PackingMethod
    pad_token: str | None
    trust_remote_code: bool = False
    config: dict[str, Any] | None = None
    parameters: int | None = None
    shrunk: bool = False
    add_tokens: list[str] = field(default_factory=list)
    licence: str
    notice: str | None

    def __post_init__(self) -> None:
        values = {"architecture": self.architecture, "dtype": self.dtype, "attention": self.attention,
                  "packing": self.packing}  # fmt: skip
        for setting, value in values.items():
            if value not in CHOICES[setting]:
                raise ConfigError(f"model.{setting}={value!r} is not known; choose one of {', '.join(CHOICES[setting])}.")
        if self.path is None and self.package is None and self.toy is None and not (self.shrunk and self.config):
            raise ConfigError(f"Model {self.name!r} names no weights: set model.path to a hub id, a local folder or a .gguf file.")
        for setting, shapes in (("toy", self.toy), ("config", self.config)):
            if shapes is not None and "model_type" not in shapes:
                raise ConfigError(f"Model {self.name!r}: model.{setting} needs `model_type`, such as llama or t5.")
        if not isinstance(self.shrunk, bool):
            raise ConfigError(f"model.shrunk={self.shrunk!r} must be true or false.")
        if self.max_length < 2:
            raise ConfigError(f"model.max_length={self.max_length} leaves nothing to predict; it must be 2 or more.")
