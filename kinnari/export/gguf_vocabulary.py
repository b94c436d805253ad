"""A folder's tokenizer as GGUF metadata: byte-level BPE (`gpt2`) and SentencePiece BPE (`llama`)."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gguf import GGUFValueType, GGUFWriter, Keys, TokenType
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerFast

from kinnari.errors import ConfigError
from kinnari.models.gguf_split import SPLITS, split_name

BYTE = re.compile(r"<0x[0-9A-F]{2}>")
SPACE = "▁"
# what llama.cpp's converter gives tokens that no merge makes; never compared with another score
ADDED_SCORE = -1000.0
SPECIAL = {"bos": "BOS_ID", "eos": "EOS_ID", "unk": "UNK_ID", "pad": "PAD_ID", "sep": "SEP_ID", "mask": "MASK_ID"}


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer keys of a GGUF file.

    Attributes:
        model: `gpt2` or `llama`.
        pre: how the text is cut before merging.
        tokens: one text per row of the embedding.
        types: `gguf.TokenType` of each.
        scores: of each, higher merges first; SentencePiece only.
        merges: pairs, best first; None where the scores say the same. llama.cpp reads them for `gpt2` alone.
        special: `bos`, `eos`, ... -> id.
        add_bos: a text is given bos before it.
        add_eos: a text is given eos after it.
        space_prefix: a text is given a space before it; None where the file need not say.
        chat_template: the Jinja template.
    """

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    scores: list[float] | None = None
    merges: list[tuple[str, str]] | None = None
    special: Mapping[str, int] = field(default_factory=dict)
    add_bos: bool = False
    add_eos: bool = False
    space_prefix: bool | None = None
    chat_template: str | None = None


def read_vocabulary(folder: Path, config: PreTrainedConfig) -> Vocabulary:
    """The tokenizer of a Hugging Face folder.

    Raises:
        ConfigError: there is no fast tokenizer, it holds more tokens than the model, or no GGUF tokenizer cuts text like it.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{folder} holds no tokenizer that can be read ({error}), and a GGUF file needs one. Save it beside the weights."
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ConfigError(
            f"The tokenizer of {folder} ({type(tokenizer).__name__}) has no tokenizer.json; only byte-level BPE and SentencePiece BPE "
            f"can be written as GGUF. Export the Hugging Face folder instead (export.format=hf)."
        )
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    model, parts = backend["model"], json.dumps([backend["pre_tokenizer"], backend["normalizer"]], ensure_ascii=False)
    if model["type"] == "BPE" and "ByteLevel" in parts:
        found = _byte_level(tokenizer, config, model)
    elif model["type"] == "BPE" and (model.get("byte_fallback") or SPACE in parts):
        found = _sentencepiece(tokenizer, config, model, parts)
    else:
        raise ConfigError(
            f"The tokenizer of {folder} is of kind {model['type']}, which cannot be written as GGUF; byte-level BPE and SentencePiece "
            f"BPE can. Export the Hugging Face folder instead (export.format=hf)."
        )
    return found


def _byte_level(tokenizer: PreTrainedTokenizerFast, config: PreTrainedConfig, model: dict[str, Any]) -> Vocabulary:
    pre = split_name(tokenizer.backend_tokenizer)
    if pre is None:
        raise ConfigError(
            "The tokenizer cuts text in a way that llama.cpp has no name for, so a GGUF file of it would tokenise otherwise. Known cuts: "
            f"{', '.join(SPLITS)}. Export the Hugging Face folder instead (export.format=hf)."
        )
    tokens, types = _tokens(tokenizer, config.vocab_size)
    return Vocabulary("gpt2", pre, tokens, types, merges=_pairs(model), **_habits(tokenizer, config))


def _sentencepiece(tokenizer: PreTrainedTokenizerFast, config: PreTrainedConfig, model: dict[str, Any], parts: str) -> Vocabulary:
    tokens, types = _tokens(tokenizer, config.vocab_size)
    for index, (token, kind) in enumerate(zip(tokens, types, strict=True)):
        if kind == TokenType.NORMAL and BYTE.fullmatch(token):
            types[index] = TokenType.BYTE
        elif kind == TokenType.USER_DEFINED:
            tokens[index] = token.replace(SPACE, " ")  # llama.cpp matches these in the text as it is written
    scores, merges = _scores(tokens, types, model), _pairs(model)
    never = '"prepend_scheme": "never"' in parts
    prefix = not never and ('"Metaspace"' in parts or '"Prepend"' in parts)
    habits = _habits(tokenizer, config)
    implied = None if _follows(model, by_id=config.model_type.startswith("gemma")) else merges
    return Vocabulary("llama", "default", tokens, types, scores, implied, space_prefix=prefix, **habits)


def _follows(model: dict[str, Any], by_id: bool) -> bool:
    """Whether the list of merges is the one that readers derive: all cuts of all pieces into two, best piece first.

    Args:
        by_id: readers take the order of the ids for that of the scores, as transformers does for Gemma.
    """
    vocabulary = model["vocab"]
    halves = ((piece[:at], piece[at:]) for piece in vocabulary for at in range(1, len(piece)))
    cuts = {(left, right) for left, right in halves if left in vocabulary and right in vocabulary}
    pairs = _pairs(model)
    ids = [vocabulary.get(left + right, -1) for left, right in pairs]
    return cuts == set(pairs) and (not by_id or ids == sorted(ids))


def _pairs(model: dict[str, Any]) -> list[tuple[str, str]]:
    """The merges; older files join the two halves by a space."""
    split = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    return [(left, right) for left, right in split]


def _scores(tokens: list[str], types: list[int], model: dict[str, Any]) -> list[float]:
    """Scores under which SentencePiece merges as the list of merges does: a piece's is minus the rank of its first merge."""
    rank: dict[str, float] = {}
    for left, right in _pairs(model):
        rank.setdefault(left + right, -float(len(rank)))
    last = -float(len(tokens))  # of a piece that no merge makes: single characters, below all others

    def score(token: str, kind: int) -> float:
        if kind == TokenType.NORMAL:
            return rank.get(token, last)
        return 0.0 if kind == TokenType.BYTE else ADDED_SCORE

    return [score(token, kind) for token, kind in zip(tokens, types, strict=True)]


def _tokens(tokenizer: PreTrainedTokenizerFast, rows: int) -> tuple[list[str], list[int]]:
    """Text and type of every row of the embedding; rows without a token are called [PAD<id>]."""
    vocabulary = tokenizer.get_vocab()
    largest = max(vocabulary.values())
    if largest >= rows:
        raise ConfigError(
            f"The tokenizer has ids up to {largest}, the model {rows} rows (vocab_size={rows}): the tokens that were added have no "
            f"weights. Resize the model's embeddings to the tokenizer before exporting."
        )
    tokens = [f"[PAD{index}]" for index in range(rows)]
    types: list[int] = [TokenType.UNUSED] * rows
    added = tokenizer.added_tokens_decoder
    for token, index in vocabulary.items():
        tokens[index], types[index] = token, TokenType.NORMAL
        if index in added:
            types[index] = TokenType.CONTROL if added[index].special else TokenType.USER_DEFINED
    return tokens, types


def _habits(tokenizer: PreTrainedTokenizerFast, config: PreTrainedConfig) -> dict[str, Any]:
    """Special ids, what is put around a text, and the chat template."""
    special = {}
    for name in SPECIAL:
        index = getattr(tokenizer, f"{name}_token_id", None)
        if index is None:  # llama.cpp needs bos and eos also where the tokenizer names none
            index = getattr(config, f"{name}_token_id", None)
        if isinstance(index, list):
            index = index[0]
        if index is not None and 0 <= index < config.vocab_size:
            special[name] = index
    probe = tokenizer("a")["input_ids"]
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    return {
        "special": special,
        "add_bos": len(probe) > len(bare) and probe[0] == special.get("bos"),
        "add_eos": len(probe) > len(bare) and probe[-1] == special.get("eos"),
        "chat_template": template,
    }


def write_vocabulary(writer: GGUFWriter, vocabulary: Vocabulary) -> None:
    """Adds the tokenizer's keys."""
    if vocabulary.space_prefix is not None:
        writer.add_add_space_prefix(vocabulary.space_prefix)
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.scores is not None:
        writer.add_token_scores(vocabulary.scores)
    if vocabulary.merges is not None:
        merges = [f"{left} {right}" for left, right in vocabulary.merges]
        writer.add_key_value(Keys.Tokenizer.MERGES, merges, GGUFValueType.ARRAY, GGUFValueType.STRING)
    for name, index in vocabulary.special.items():
        writer.add_uint32(getattr(Keys.Tokenizer, SPECIAL[name]), index)
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_eos_token(vocabulary.add_eos)
    if vocabulary.chat_template is not None:
        writer.add_chat_template(vocabulary.chat_template)
