"""Configuration of GLM-chinese (2022), and the way from the public config.json to it.

The public checkpoints call themselves `glm`, a name that transformers gives to another, later architecture. Here the model type
is `glm_chinese`; a config.json of the old kind is known by its fields and converted while it is read.

    public   {"model_type": "glm", "block_position_encoding": true, "num_layers": 24, "max_sequence_length": 1024, ...}
    here     {"model_type": "glm_chinese", "num_layers": 24, "max_sequence_length": 1024, "sop_token_id": 50006, ...}
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import GlmConfig, PreTrainedConfig

from kinnari.errors import ConfigError
from kinnari.models.glm.inputs import BlankTokens

PUBLIC_TYPE = "glm"
PUBLIC_CLASSES = ("GLMModel", "GLMForConditionalGeneration", "GLMForMultipleChoice", "GLMForSequenceClassification")


@strict
class GLMConfig(PreTrainedConfig):
    """Sizes and token ids of GLM-chinese; the defaults are those of the 335M model.

    Source: Du et al. 2022, "GLM: General Language Model Pretraining with Autoregressive Blank Infilling"; field names of the public
    config.json.

    Attributes:
        max_sequence_length: longest context, and longest answer, in tokens; the two position tables have one row more.
        attention_scale: scores are divided by it before the softmax and multiplied by it after their maximum is taken off, which
            changes no value and keeps half precision from overflowing (eager attention; SDPA adds up in float32 anyway).
        mask_token_ids: [MASK], [gMASK], [sMASK]: the blanks.
        sop_token_id: <|startofpiece|>, the first token of an answer.
        eop_token_id: <|endofpiece|>, which ends it.

    Raises:
        ConfigError: sizes that do not go together.
    """

    model_type = "glm_chinese"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    attribute_map: ClassVar[dict[str, str]] = {"num_hidden_layers": "num_layers", "max_position_embeddings": "max_sequence_length"}

    vocab_size: int = 50048
    hidden_size: int = 1024
    num_layers: int = 24
    num_attention_heads: int = 16
    max_sequence_length: int = 1024
    layernorm_epsilon: float = 1e-5
    attention_scale: float | int = 1.0
    embedding_dropout_prob: float | int = 0.1
    attention_dropout_prob: float | int = 0.1
    output_dropout_prob: float | int = 0.1
    initializer_range: float = 0.02
    use_cache: bool = True
    tie_word_embeddings: bool = True
    pad_token_id: int | None = 50000
    eos_token_id: int | list[int] | None = 50000
    mask_token_ids: list[int] | tuple[int, ...] = (50003, 50009, 50008)
    sop_token_id: int = 50006
    eop_token_id: int = 50007

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        sizes = ("vocab_size", "hidden_size", "num_layers", "num_attention_heads", "max_sequence_length")
        wrong = {name: vars(self)[name] for name in sizes if isinstance(vars(self)[name], int) and vars(self)[name] < 1}
        if wrong:
            raise ConfigError(f"GLM's sizes must be 1 or more, not {wrong}; take the config.json that came with the weights.")
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"hidden_size={self.hidden_size} cannot be divided among num_attention_heads={self.num_attention_heads}; "
                "take the config.json that came with the weights."
            )

    @property
    def blanks(self) -> BlankTokens:
        """The tokens a row is laid out by."""
        return BlankTokens(tuple(self.mask_token_ids), self.sop_token_id, self.eop_token_id, self.pad_token_id or 0)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As in transformers, from either kind of config.json."""
        return super().from_dict(converted(config_dict) if is_public_glm(config_dict) else config_dict, **kwargs)


def is_public_glm(config: Mapping[str, Any]) -> bool:
    """Whether this config.json is one of the 2022 GLM, not of the architecture that transformers calls `glm`."""
    if config.get("model_type") != PUBLIC_TYPE:
        return False
    return "block_position_encoding" in config or any(name in PUBLIC_CLASSES for name in config.get("architectures") or [])


def converted(config: Mapping[str, Any]) -> dict[str, Any]:
    """The public config.json in the words of `GLMConfig`; what only its training or its remote code read is left out.

    Raises:
        ConfigError: a variant that is not this architecture (one row of positions, relative positions).
    """
    if config.get("relative_encoding"):
        raise ConfigError("This GLM has relative_encoding=true, a variant without public weights; only learned positions are known.")
    if not config.get("block_position_encoding", True):
        raise ConfigError("This GLM has block_position_encoding=false, one row of positions; only the two-row Chinese models are known.")
    known = set(GLMConfig.__dataclass_fields__) - {"architectures", "auto_map"}
    kept = {name: value for name, value in config.items() if name in known or name == "torch_dtype"}
    return kept | {"model_type": GLMConfig.model_type, "architectures": ["GLMForConditionalGeneration"]}


class EitherGlm:
    """What transformers finds under `glm` once `kinnari.models.glm` is imported: its own GLM's config, or that of 2022.

    Never an object of this class: its calls give a `transformers.GlmConfig` or a `GLMConfig`.
    """

    model_type = PUBLIC_TYPE

    def __new__(cls, **fields: Any) -> Any:
        return GLMConfig(**converted(fields)) if is_public_glm({"model_type": PUBLIC_TYPE, **fields}) else GlmConfig(**fields)

    @staticmethod
    def from_dict(config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """The config that this config.json describes."""
        chosen: Any = GLMConfig if is_public_glm(config_dict) else GlmConfig
        return chosen.from_dict(config_dict, **kwargs)

    @staticmethod
    def from_pretrained(name: str, **kwargs: Any) -> Any:
        """The config in this folder or hub repository."""
        config_dict, rest = PreTrainedConfig.get_config_dict(name, **kwargs)
        return EitherGlm.from_dict(config_dict, **rest)
