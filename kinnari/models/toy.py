"""Random-weight models of real architectures with a byte tokenizer: they run anywhere and read every language."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import MODEL_MAPPING, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from kinnari.errors import ConfigError
from kinnari.models.architectures import AUTO_CLASSES, without_pooling
from kinnari.models.shrink import architecture_config, shrink
from kinnari.models.spec import Architecture, ModelSpec

SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>")
# What templates of a family need as single tokens, beside those above.
FAMILY_TOKENS = {
    "pangu": ("<sep>",),
    "glm_chinese": ("[MASK]", "[gMASK]", "[sMASK]", "<|startofpiece|>", "<|endofpiece|>", "<|endoftext|>", "[CLS]", "[SEP]"),
}
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def byte_tokenizer(more_tokens: Sequence[str] = (), *, pads: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer of 6 special tokens (ids 0-5) and the 256 bytes (ids 6-261), so that every text round-trips exactly.

    Thai and CJK characters take three tokens, emoji four. pad = 0, bos = 1, eos = 2, unk = 3.

    Args:
        more_tokens: further special tokens, from id 262.
        pads: whether the tokenizer names its pad token; those of many published models do not.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    more = [token for token in dict.fromkeys(more_tokens) if token not in SPECIAL_TOKENS]
    vocabulary = {token: index for index, token in enumerate((*SPECIAL_TOKENS, *alphabet, *more))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in (*SPECIAL_TOKENS, *more)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>" if pads else None,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>", *more],
        # the library's default removes spaces before punctuation when decoding, which is no round trip
        clean_up_tokenization_spaces=False,
    )


def toy_tokenizer(spec: ModelSpec) -> PreTrainedTokenizerFast:
    """The byte tokenizer of a toy; that of a shrunk model also has its family's tokens, its pad token and a chat template (ChatML)."""
    if spec.toy is not None:
        return byte_tokenizer()
    family = FAMILY_TOKENS.get(_published(spec)["model_type"], ())
    pad = [] if spec.pad_token is None else [spec.pad_token]
    # as with the published model, `spec.pad_token` is then chosen when the tokenizer is loaded
    tokenizer = byte_tokenizer((*family, *pad), pads=spec.pad_token is None)
    tokenizer.chat_template = CHATML
    return tokenizer


def toy_settings(spec: ModelSpec) -> dict[str, Any]:
    """Config arguments, `model_type` among them, of the random-weight model that `spec` asks for.

    Raises:
        ConfigError: the spec is no toy, and has no published shapes to shrink.
    """
    tokenizer = toy_tokenizer(spec)
    ids = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    if spec.toy is not None:
        return ids | spec.toy
    published = _published(spec)
    if published["model_type"] == "glm_chinese":
        of = tokenizer.convert_tokens_to_ids
        ids |= {"mask_token_ids": of(["[MASK]", "[gMASK]", "[sMASK]"]), "sop_token_id": of("<|startofpiece|>")}
        ids |= {"eop_token_id": of("<|endofpiece|>")}
    return shrink(published, len(tokenizer)) | ids


def _published(spec: ModelSpec) -> dict[str, Any]:
    if not spec.shrunk:
        raise ConfigError(f"Model {spec.name!r} is no toy: its weights come from {spec.path or spec.package}.")
    if spec.config is None:
        raise ConfigError(
            f"model.shrunk=true with model={spec.name}: this file has no model.config, the published shapes that are shrunk. Choose "
            "model=other model/family=FAMILY, or leave model.shrunk out."
        )
    return spec.config


def build_toy(spec: ModelSpec, seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A float32 model with random weights on the CPU in eval mode, and its byte tokenizer.

    The same spec and seed give the same bits; the caller's random state is left as it was.

    Raises:
        ConfigError: `spec` is no toy and not to be shrunk, or it has an unknown model type, or a vocabulary smaller than the tokenizer's.
    """
    tokenizer, settings = toy_tokenizer(spec), toy_settings(spec)
    try:
        config = architecture_config(settings)
    except ValueError as error:
        raise ConfigError(f"model.toy.model_type={settings['model_type']!r}: {error}") from error
    if config.vocab_size < len(tokenizer):
        raise ConfigError(
            f"model.toy.vocab_size={config.vocab_size} is below the {len(tokenizer)} tokens of the byte tokenizer; "
            f"leave it out or raise it."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = empty_model(config, spec.architecture, tied=settings.get("tie_word_embeddings"))
    return model.eval(), tokenizer


def empty_model(config: PreTrainedConfig, architecture: Architecture, *, tied: bool | None = None) -> PreTrainedModel:
    """A float32 model with the weights its class begins with, on torch's default device.

    Args:
        tied: `tie_word_embeddings` as the published config.json has it. T5 1.1 says false and has a head of its own, but its config
            class always says true: transformers unties only when it finds two different matrices in a checkpoint (5.23).
    """
    options = without_pooling(MODEL_MAPPING[type(config)]) if architecture == "encoder" else {}
    model: PreTrainedModel = AUTO_CLASSES[architecture].from_config(config, dtype=torch.float32, **options)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head is not None and tied is False and head.weight is embedding.weight:
        head.weight = nn.Parameter(torch.empty_like(embedding.weight).normal_(std=embedding.weight.shape[1] ** -0.5))
        model.all_tied_weights_keys.pop("lm_head.weight")
    return model


def save_toy(spec: ModelSpec, seed: int, folder: Path) -> None:
    """Writes the toy as a Hugging Face folder; from there it is loaded, quantised and exported like any model."""
    model, tokenizer = build_toy(spec, seed)
    model.save_pretrained(folder)
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is not None and head.weight is not embedding.weight:
        model.config.tie_word_embeddings = False  # as published; see `empty_model`
        model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
