"""How many positions a model has: a hard limit where they are learned, a matter of quality where they are computed.

An embedding of positions ends somewhere: on a CPU a longer record stops the run in its midst with an index error, on a GPU it kills the
process. So the limit is looked up in the config, before weights are read.
"""

import logging

from transformers import PretrainedConfig

from kinnari.errors import ConfigError

log = logging.getLogger(__name__)

# by config.model_type, in transformers 5.23 and here; tests/kinnari/models/test_positions.py runs each of them into its limit
LEARNED = {
    "pangu", "glm_chinese", "gpt2", "gpt_neo", "gpt_bigcode", "openai-gpt", "opt", "biogpt", "bart", "mbart", "bert", "distilbert",
    "electra", "albert",
}  # fmt: skip
# positions begin after the id of the pad token, so that many rows are lost
LEARNED_AFTER_PAD = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert"}


def learned_positions(config: PretrainedConfig) -> int | None:
    """The most tokens of a row of this model, None where no embedding of positions sets a limit.

    For GLM-chinese, whose context and answer are counted apart, it is the length that fits in any case.
    """
    if config.model_type in LEARNED:
        return int(config.max_position_embeddings)  # under another name in some, which the config's attribute_map knows
    if config.model_type in LEARNED_AFTER_PAD:
        return int(config.max_position_embeddings) - int(config.pad_token_id or 0) - 1
    return None


def check_max_length(config: PretrainedConfig, max_length: int, name: str = "model.max_length") -> None:
    """Refuses rows longer than a learned embedding of positions; warns of rows longer than computed positions were trained for.

    Args:
        max_length: tokens of the longest row.
        name: the setting to blame.

    Raises:
        ConfigError: `max_length` exceeds `learned_positions`.
    """
    limit = learned_positions(config)
    if limit is not None and max_length > limit:
        raise ConfigError(
            f"{name}={max_length}, but this {config.model_type} model has learned embeddings for {limit} positions and nothing beyond. "
            f"Set {name}={limit} or less; longer records are then cut, parted or left out, as limits.truncation says."
        )
    trained = config.get_text_config(decoder=True).to_dict().get("max_position_embeddings")
    if limit is None and isinstance(trained, int) and max_length > trained:
        log.warning(
            "%s=%d exceeds the %d positions this %s model was trained on. It computes positions beyond, but expect worse text there; "
            "set rope scaling in the model's config if it was made for that.",
            name, max_length, trained, config.model_type,
        )  # fmt: skip
