"""How text is cut before byte pairs are merged: llama.cpp's names for it, and the same cut in `tokenizers`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.pre_tokenizers import PreTokenizer
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS


@dataclass(frozen=True)
class Split:
    """One value of `tokenizer.ggml.pre`.

    Attributes:
        pre_tokenizer: the cut.
        ignore_merges: llama.cpp takes a piece that is a token as it stands, without its merges.
        composes: the published tokenizers of this name compose Unicode (NFC) first; llama.cpp does not.
    """

    pre_tokenizer: PreTokenizer
    ignore_merges: bool = False
    composes: bool = False


def _pattern(regex: str) -> PreTokenizer:
    cut = pre_tokenizers.Split(Regex(regex), behavior="isolated")
    return pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _gpt2() -> PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


# Patterns as in the published tokenizer.json files and in llama.cpp's src/llama-vocab.cpp.
SPLITS: Mapping[str, Split] = {
    "gpt-2": Split(_gpt2()),
    "smollm": Split(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])),
    "llama-bpe": Split(_pattern(GGUF_PRE_TOKENIZER_SPLITS["llama-bpe"]), ignore_merges=True),
    "smaug-bpe": Split(_pattern(GGUF_PRE_TOKENIZER_SPLITS["llama-bpe"])),
    "qwen2": Split(_pattern(GGUF_PRE_TOKENIZER_SPLITS["qwen2"]), composes=True),
    "tekken": Split(_pattern(GGUF_PRE_TOKENIZER_SPLITS["tekken"]), ignore_merges=True),
    "bloom": Split(_pattern(r" ?[^(\s|[.,!?…。，、।۔،])]+")),
    "falcon": Split(
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Punctuation(behavior="contiguous"),
                _gpt2(),
                pre_tokenizers.Digits(individual_digits=False),
                pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), behavior="isolated"),
            ]
        )
    ),
}
# other names that llama.cpp cuts by the same patterns
SAME_CUT = {"starcoder": "smollm", "refact": "smollm", "llama3": "llama-bpe", "llama-v3": "llama-bpe", "dbrx": "smaug-bpe"}


def _state(part: PreTokenizer) -> object:
    """The settings of a cut, without the one that only moves offsets."""
    return _without_offsets(json.loads(part.__getstate__()))  # tokenizers pickles its parts as JSON


def _without_offsets(state: object) -> object:
    if isinstance(state, dict):
        return {key: _without_offsets(value) for key, value in state.items() if key != "trim_offsets"}
    return [_without_offsets(item) for item in state] if isinstance(state, list) else state


def split_name(tokenizer: Tokenizer) -> str | None:
    """llama.cpp's name for the cut of a byte-level BPE tokenizer; None where it has none.

    Without merges a text is its bytes however it is cut, so any name is right.
    """
    model = json.loads(tokenizer.model.__getstate__())
    if not model["merges"]:
        return "gpt-2"
    composes = isinstance(tokenizer.normalizer, normalizers.NFC)
    if tokenizer.pre_tokenizer is None or not (tokenizer.normalizer is None or composes):
        return None
    cut = _state(tokenizer.pre_tokenizer)
    for name, split in SPLITS.items():
        if _state(split.pre_tokenizer) == cut and split.ignore_merges == bool(model.get("ignore_merges")):
            return name
    return None


def restore_split(tokenizer: Tokenizer, name: str | None, space_prefix: bool = True) -> None:
    """Gives a tokenizer that was read from a GGUF file the cut that the file names.

    transformers 5.23 knows a part of the names, of those only the pattern, and puts a space before every SentencePiece text.

    Args:
        tokenizer: changed in place.
        name: the file's `tokenizer.ggml.pre`.
        space_prefix: its `tokenizer.ggml.add_space_prefix`.
    """
    if isinstance(tokenizer.pre_tokenizer, pre_tokenizers.Metaspace) and not space_prefix:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    split = SPLITS.get(SAME_CUT.get(name or "", name or ""))
    if split is None:
        return
    tokenizer.pre_tokenizer = split.pre_tokenizer
    tokenizer.model.ignore_merges = split.ignore_merges
    if split.composes:
        tokenizer.normalizer = normalizers.NFC()
