"""One way to a backbone and its tokenizer, whatever holds the weights: hub id, folder, GGUF file, package or toy."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from kinnari.errors import ConfigError
from kinnari.models.architectures import AUTO_CLASSES, kind_of, without_pooling
from kinnari.models.attention import attention_to_load, install_attention
from kinnari.models.checkpoint_files import read_settings
from kinnari.models.encoder import begin_and_end
from kinnari.models.loaded_weights import check_complete, check_finite
from kinnari.models.placement import Placement, check_nothing_on_disk, release_head, tell_places
from kinnari.models.quantisable import check_quantised, quantisable_layers
from kinnari.models.source import check_remote_code, model_source, published_name, register_family_of
from kinnari.models.spec import ModelSpec
from kinnari.models.vocabulary import add_tokens, agree_on_ids, check_vocabulary, choose_pad_token, grow_rows, mend_special_tokens

log = logging.getLogger(__name__)


def load_tokenizer(spec: ModelSpec) -> PreTrainedTokenizerBase:
    """The tokenizer that belongs to the weights, with `spec.add_tokens`, the special tokens of its family and a pad token.

    A pad token the tokenizer has is kept; else `spec.pad_token`, else the EOS token.

    Raises:
        ConfigError: no tokenizer there, or the pad token is not in its vocabulary.
    """
    tokenizer = _plain_tokenizer(spec, model_source(spec, weights=False))
    add_tokens(tokenizer, spec.add_tokens)
    choose_pad_token(tokenizer, spec)
    return tokenizer


def _plain_tokenizer(spec: ModelSpec, source: str) -> PreTrainedTokenizerBase:
    """As the checkpoint has it, its special tokens mended."""
    config = read_config(spec, source)
    check_remote_code(spec, source, "tokenizer_config.json", needed=False)
    with _explained("No tokenizer can be read from", spec, source, "tokenizer_config.json"):
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=spec.trust_remote_code)
        mend_special_tokens(tokenizer, config)
        if spec.architecture == "encoder":
            begin_and_end(tokenizer)
        tokenizer("One, สอง, 三.")  # a setting of the wrong kind shows only in use
    return tokenizer


def load_model(
    spec: ModelSpec,
    *,
    dtype: torch.dtype,
    quantization: BitsAndBytesConfig | None = None,
    device: torch.device | str = "cpu",
    placement: Placement | None = None,
    seed: int = 0,
) -> PreTrainedModel:
    """The backbone, without generation cache, in EVAL mode as `from_pretrained` leaves it: the caller sets train mode.

    Its special token ids agree with the tokenizer of the same spec, and it has rows for `spec.add_tokens`.

    Args:
        dtype: dtype of the weights, whatever the checkpoint holds; of those left unquantised, under `quantization`.
        quantization: 8- or 4-bit weights, from `kinnari.strategies.tuning.quantization_config`; None for none.
        device: where the weights go.
        placement: how they are spread over several devices instead; None for all on `device`.
        seed: seed of a toy's random weights; other models ignore it.

    Raises:
        ConfigError: weights are missing, truncated, not finite, of another architecture or need their own code, the tokenizer has
            more tokens than the embedding rows, or the attention kernel does not exist for this family.
    """
    source = model_source(spec, seed=seed)
    config = read_config(spec, source)
    _check_architecture(spec, config)
    auto: Any = AUTO_CLASSES[spec.architecture]
    with _explained("No weights can be read from", spec, source), quantisable_layers(config, quantization):
        model, info = auto.from_pretrained(
            source,
            dtype=dtype,
            attn_implementation=attention_to_load(config, spec.attention),
            quantization_config=quantization,
            **_placement_arguments(placement, device, quantized=quantization is not None),
            use_safetensors=True,
            trust_remote_code=spec.trust_remote_code,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that `check_complete` can name them; nothing is ignored there
            **(without_pooling(MODEL_MAPPING[type(config)]) if spec.architecture == "encoder" else {}),
        )
    if placement is not None:
        check_nothing_on_disk(model, placement)
    check_complete(model, source, info)
    check_quantised(model, quantization)
    check_finite(model, source)
    _name_as_published(model, spec, source)
    _fit_to_tokenizer(model, spec, source)
    if placement is not None:
        release_head(model)
        tell_places(model, spec.name)
    if quantization is not None and quantization.load_in_4bit:
        _keep_4bit_weights(model)
    install_attention(model, spec.attention)
    model.config.use_cache = False
    log.info("Loaded %s from %s: %s, attention %s.", spec.name, source, dtype, model.config._attn_implementation)
    return model.eval()


def _placement_arguments(placement: Placement | None, device: torch.device | str, quantized: bool) -> dict[str, Any]:
    if placement is not None:
        return placement.arguments()
    # a device map needs no second copy on the CPU; without one, quantised weights would go to the first GPU there is
    return {"device_map": {"": device}} if quantized or torch.device(device).type != "cpu" else {}


def _name_as_published(model: PreTrainedModel, spec: ModelSpec, source: str) -> None:
    name = published_name(spec, source)
    model.name_or_path = name  # what PEFT writes into an adapter as its base
    model.config._name_or_path = name
    if name == spec.path and not Path(name).expanduser().exists():
        model.config._commit_hash = Path(model_source(spec, weights=False)).name  # the hub's cache names snapshots by commit


def _fit_to_tokenizer(model: PreTrainedModel, spec: ModelSpec, source: str) -> None:
    if not any((Path(source) / name).is_file() for name in ("tokenizer_config.json", "tokenizer.json", "spiece.model", "tokenizer.model")):
        return  # weights alone, as a notebook may have saved them
    tokenizer = _plain_tokenizer(spec, source)
    check_vocabulary(model, tokenizer)
    old = len(tokenizer)
    new_ids = add_tokens(tokenizer, spec.add_tokens)
    if new_ids:
        grow_rows(model, old, new_ids)
    choose_pad_token(tokenizer, spec)
    agree_on_ids(model, tokenizer)


def stored_dtype(spec: ModelSpec, *, seed: int = 0) -> torch.dtype:
    """Dtype of the checkpoint's weights, which is what plain `from_pretrained` loads them in; float32 where it says nothing."""
    dtype = read_config(spec, model_source(spec, seed=seed)).dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def read_config(spec: ModelSpec, source: str) -> PreTrainedConfig:
    """What config.json in `source` says, of families of our own as well.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    register_family_of(source)
    model_type = str(read_settings(Path(source) / "config.json").get("model_type"))
    check_remote_code(spec, source, "config.json", needed=model_type not in CONFIG_MAPPING)
    with _explained("No model can be read from", spec, source):
        return AutoConfig.from_pretrained(source, trust_remote_code=spec.trust_remote_code)


@contextmanager
def _explained(what: str, spec: ModelSpec, source: str, settings_file: str = "config.json") -> Iterator[None]:
    """A library's error over files from outside becomes one paragraph; what such files can make a library raise has no end."""
    try:
        yield
    except (ConfigError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if "trust_remote_code" in str(error):
            check_remote_code(spec, source, settings_file, needed=True)
        raise ConfigError(f"{what} {source} (model {spec.name}). {remedy(error)}") from error


def remedy(error: Exception) -> str:
    """The first line of a library's error, and what usually helps."""
    reason = str(error).strip().split("\n")[0].rstrip(".")
    return (
        f"{type(error).__name__}: {reason}. The folder must hold config.json, the tokenizer and whole .safetensors files of one "
        "checkpoint, of an architecture and with settings that transformers knows; copy it again if it was cut."
    )


def _check_architecture(spec: ModelSpec, config: PreTrainedConfig) -> None:
    found = kind_of(config)
    if found != spec.architecture:
        a_model = "an encoder" if found == "encoder" else f"a {found} model"
        raise ConfigError(
            f"{spec.path or spec.package or spec.name} holds {a_model} ({config.model_type}), but "
            f"model.architecture={spec.architecture}. Set model.architecture={found}, or choose other weights."
        )


def _keep_4bit_weights(model: PreTrainedModel) -> None:
    """Turns off the repacking of 4-bit weights at the first evaluation forward on CPUs with AVX512-BF16.

    bitsandbytes 0.50.2 there rounds the block scales to bfloat16 for good and takes a kernel without a backward pass:
    after one validation the base would be another model, and training would go on with gradients missing, without an
    error.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
