"""One way to a backbone and its tokenizer, whatever holds the weights: hub id, folder, GGUF file, package or toy."""

import hashlib
import importlib
import json
import logging
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError, StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from kinnari.errors import ConfigError
from kinnari.models.cache import built_once, cache_root
from kinnari.models.gguf import convert_gguf, find_packaged_gguf
from kinnari.models.spec import ModelSpec
from kinnari.models.toy import save_toy

log = logging.getLogger(__name__)

# model_type -> the module whose import registers it with the Auto classes; the others are transformers' own
# (`glm` is two architectures: the package of the older one tells their config.json apart)
OWN_FAMILIES = {"pangu": "kinnari.models.pangu", "glm": "kinnari.models.glm", "glm_chinese": "kinnari.models.glm"}


def model_source(spec: ModelSpec, *, seed: int = 0) -> str:
    """Absolute folder or hub id that plain `from_pretrained` accepts, in this process and in any other.

    GGUF files and toys become folders in the cache first. An explicit `path` wins over `package` and `toy`.

    Raises:
        ConfigError: the folder, file or package does not exist.
    """
    if spec.path is not None:
        local = Path(spec.path).expanduser()
        if local.suffix == ".gguf":
            return str(convert_gguf(local))
        if local.is_dir():
            return str(local.resolve())
        if spec.path.startswith((".", "/", "~")):
            raise ConfigError(f"model.path={spec.path} does not exist. Give an existing folder or .gguf file, or a hub id.")
        return spec.path
    if spec.package is not None:
        return str(convert_gguf(find_packaged_gguf(spec.package)))
    register_own_family(str((spec.toy or {}).get("model_type")))
    key = hashlib.sha256(json.dumps([spec.architecture, spec.toy, seed], sort_keys=True).encode()).hexdigest()[:16]
    return str(built_once(cache_root() / f"{spec.name}-{key}", lambda folder: save_toy(spec, seed, folder)))


def register_own_family(model_type: str) -> None:
    """Makes AutoConfig and its like know a family that transformers lacks; imported only here, since that takes seconds."""
    if model_type in OWN_FAMILIES:
        importlib.import_module(OWN_FAMILIES[model_type])


def _register_family_of(source: str) -> None:
    register_own_family(str(PreTrainedConfig.get_config_dict(source)[0].get("model_type")))


def load_tokenizer(spec: ModelSpec) -> PreTrainedTokenizerBase:
    """The tokenizer that belongs to the weights, with a pad token.

    A pad token the tokenizer has is kept; else `spec.pad_token`, else the EOS token (no harm: labels come from lengths,
    never from token ids). No token is added, so the embedding never needs another size.

    Raises:
        ConfigError: no tokenizer there, or the pad token is not in its vocabulary.
    """
    source = model_source(spec)
    try:
        _register_family_of(source)
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=spec.trust_remote_code)
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(f"No tokenizer can be read from {source!r} (model {spec.name}). {remedy(source, error)}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = _pad_token(spec, tokenizer)
        log.info("%s pads with %r (id %d).", spec.name, tokenizer.pad_token, tokenizer.pad_token_id)
    return tokenizer


def _pad_token(spec: ModelSpec, tokenizer: PreTrainedTokenizerBase) -> str:
    if spec.pad_token is None:
        if tokenizer.eos_token is None:
            raise ConfigError(
                f"The tokenizer of {spec.name} names neither a pad nor an EOS token; set model.pad_token to a token of its vocabulary."
            )
        return tokenizer.eos_token
    if spec.pad_token not in tokenizer.get_vocab():
        raise ConfigError(
            f"model.pad_token={spec.pad_token!r} is not in the vocabulary of {spec.name}, and a new token would "
            f"change the size of the embedding. Set model.pad_token to an existing token, or to null for "
            f"{tokenizer.eos_token!r}."
        )
    return spec.pad_token


def load_model(
    spec: ModelSpec,
    *,
    dtype: torch.dtype,
    quantization: BitsAndBytesConfig | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> PreTrainedModel:
    """The backbone, without generation cache, in EVAL mode as `from_pretrained` leaves it: the caller sets train mode.

    Args:
        dtype: dtype of the weights, whatever the checkpoint holds; of those left unquantised, under `quantization`.
        quantization: 8- or 4-bit weights, from `kinnari.strategies.tuning.quantization_config`; None for none.
        device: where the weights go.
        seed: seed of a toy's random weights; other models ignore it.

    Raises:
        ConfigError: weights are missing, truncated, of another architecture, not safetensors, or the attention kernel
            does not exist for this family.
    """
    source = model_source(spec, seed=seed)
    _check_architecture(spec, _read_config(spec, source))
    auto: Any = AutoModelForSeq2SeqLM if spec.architecture == "seq2seq" else AutoModelForCausalLM
    # a device map needs no second copy on the CPU; without one, quantised weights would go to the first GPU there is
    placed = quantization is not None or torch.device(device).type != "cpu"
    try:
        model, info = auto.from_pretrained(
            source,
            dtype=dtype,
            attn_implementation=None if spec.attention == "auto" else spec.attention,
            quantization_config=quantization,
            device_map={"": device} if placed else None,
            use_safetensors=True,
            trust_remote_code=spec.trust_remote_code,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that `_check_complete` can name them; nothing is ignored there
        )
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        raise ConfigError(f"The weights of {spec.name} cannot be read from {source!r}. {remedy(source, error)}") from error
    _check_complete(spec, source, info)
    if quantization is not None and quantization.load_in_4bit:
        _keep_4bit_weights(model)
    model.config.use_cache = False
    log.info("Loaded %s from %s: %s, attention %s.", spec.name, source, dtype, model.config._attn_implementation)
    return model.eval()


def stored_dtype(spec: ModelSpec, *, seed: int = 0) -> torch.dtype:
    """Dtype of the checkpoint's weights, which is what plain `from_pretrained` loads them in; float32 where it says nothing."""
    dtype = _read_config(spec, model_source(spec, seed=seed)).dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def _read_config(spec: ModelSpec, source: str) -> PreTrainedConfig:
    try:
        _register_family_of(source)
        return AutoConfig.from_pretrained(source, trust_remote_code=spec.trust_remote_code)
    except (OSError, ValueError, HFValidationError, StrictDataclassError) as error:
        raise ConfigError(f"No model can be read from {source!r} (model {spec.name}). {remedy(source, error)}") from error


def _check_architecture(spec: ModelSpec, config: PreTrainedConfig) -> None:
    found = "seq2seq" if config.is_encoder_decoder else "causal"
    if found != spec.architecture:
        raise ConfigError(
            f"{spec.path or spec.package or spec.name} holds a {found} model ({config.model_type}), but "
            f"model.architecture={spec.architecture}. Set model.architecture={found}, or choose other weights."
        )


def _check_complete(spec: ModelSpec, source: str, info: dict) -> None:
    """transformers only warns about absent weights and fills them with random numbers."""
    absent = sorted(info["missing_keys"])
    misfits = sorted(str(key) for key in info["mismatched_keys"])
    if absent or misfits:
        raise ConfigError(
            f"{source} is no complete {spec.architecture} model: {len(absent)} weights are missing and "
            f"{len(misfits)} have another shape, such as {', '.join((absent + misfits)[:3])}. They would be random "
            f"numbers. Take the whole checkpoint, one with its language-model head."
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


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises ConfigError when the tokenizer has ids that the embedding of the model has no row for."""
    embedding: Any = model.get_input_embeddings()
    rows = embedding.num_embeddings
    if len(tokenizer) > rows:
        raise ConfigError(
            f"The tokenizer has {len(tokenizer)} tokens, the embedding {rows} rows: they do not belong together. "
            f"Nothing is resized silently; use the tokenizer that came with the weights."
        )


def remedy(source: str, error: Exception) -> str:
    """The first line of a library's error, and what usually helps."""
    reason = str(error).strip().split("\n")[0]
    if Path(source).is_dir():
        advice = (
            "The folder must hold config.json, the tokenizer and whole .safetensors files (pickled .bin files are "
            "refused: convert them once with `from_pretrained` and `save_pretrained` where you trust them); copy it "
            "again if cut."
        )
    else:
        advice = (
            "Without a network give model.path a local folder or a .gguf file; log in with `hf auth login` if the "
            "model asks for its terms; a repository without safetensors must be converted once."
        )
    return f"{type(error).__name__}: {reason}. {advice}"
