"""Random-weight models of real architectures with a byte tokenizer: they run anywhere and read every language."""

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from kinnari.errors import ConfigError
from kinnari.models.spec import ModelSpec

SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>")


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of 6 special tokens (ids 0-5) and the 256 bytes (ids 6-261), so that every text round-trips exactly.

    Thai and CJK characters take three tokens, emoji four. pad = 0, bos = 1, eos = 2, unk = 3.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate((*SPECIAL_TOKENS, *alphabet))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        # the library's default removes spaces before punctuation when decoding, which is no round trip
        clean_up_tokenization_spaces=False,
    )


def build_toy(spec: ModelSpec, seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A float32 model with random weights on the CPU in eval mode, and its byte tokenizer.

    The same spec and seed give the same bits; the caller's random state is left as it was.

    Raises:
        ConfigError: `spec.toy` is None, holds an unknown model type, or a vocabulary smaller than the byte tokenizer's.
    """
    if spec.toy is None:
        raise ConfigError(f"Model {spec.name!r} is no toy: its weights come from {spec.path or spec.package}.")
    tokenizer = byte_tokenizer()
    arguments = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        **spec.toy,
    }
    model_type = arguments.pop("model_type")
    try:
        config = AutoConfig.for_model(model_type, **arguments)
    except ValueError as error:
        raise ConfigError(f"model.toy.model_type={model_type!r}: {error}") from error
    if config.vocab_size < len(tokenizer):
        raise ConfigError(
            f"model.toy.vocab_size={config.vocab_size} is below the {len(tokenizer)} tokens of the byte tokenizer; "
            f"leave it out or raise it."
        )
    auto = AutoModelForSeq2SeqLM if spec.architecture == "seq2seq" else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = auto.from_config(config, dtype=torch.float32)
    return model.eval(), tokenizer


def save_toy(spec: ModelSpec, seed: int, folder: Path) -> None:
    """Writes the toy as a Hugging Face folder; from there it is loaded, quantised and exported like any model."""
    model, tokenizer = build_toy(spec, seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
