"""The tokenizer of GLM-chinese: SentencePiece `cog-pretrain.model`, and ten tokens after its pieces.

    id - 50000     0               1      2      3       4 5       6                  7                8        9
    token          <|endoftext|>   [SEP]  [CLS]  [MASK]  unused    <|startofpiece|>   <|endofpiece|>   [sMASK]  [gMASK]

With 50,000 pieces these are the ids of the public checkpoints; a smaller SentencePiece model shifts them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece
from torch import Tensor
from transformers import AddedToken
from transformers.tokenization_utils_sentencepiece import SentencePieceBackend

from kinnari.errors import ConfigError
from kinnari.models.glm.inputs import BlankTokens, MultipleChoice, build_inputs_for_generation, build_inputs_for_multiple_choice

COMMANDS = (
    "<|endoftext|>", "[SEP]", "[CLS]", "[MASK]", "[UNUSED1]", "[UNUSED2]",
    "<|startofpiece|>", "<|endofpiece|>", "[sMASK]", "[gMASK]",
)  # fmt: skip


class GLMTokenizer(SentencePieceBackend):
    """`[CLS] text <|endoftext|>`, or `[CLS] text [SEP] second text <|endoftext|>`; truncates on the left unless told otherwise.

    Args:
        vocab_file: the SentencePiece model.
        kwargs: of transformers' tokenizers, such as `truncation_side`.

    Raises:
        ConfigError: the file is missing or no SentencePiece model.
    """

    vocab_files_names = {"vocab_file": "cog-pretrain.model"}  # noqa: RUF012
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012
    truncation_side = "left"

    def __init__(self, vocab_file: str, **kwargs: Any) -> None:
        pieces = _read_pieces(vocab_file)
        first = pieces.get_piece_size()
        commands = {first + i: AddedToken(name, special=True, normalized=False) for i, name in enumerate(COMMANDS)}
        added = {i: token for i, token in kwargs.pop("added_tokens_decoder", {}).items() if str(token) not in COMMANDS}
        for name in ("tokenizer_file", "additional_special_tokens", "extra_special_tokens", "vocab_file"):
            kwargs.pop(name, None)
        defaults = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "sep_token": "[SEP]", "cls_token": "[CLS]",
                    "mask_token": "[MASK]", "unk_token": pieces.id_to_piece(pieces.unk_id())}  # fmt: skip
        named = {name: kwargs.pop(name, None) and token for name, token in defaults.items()} | defaults
        super().__init__(
            vocab_file=vocab_file,
            added_tokens_decoder=commands | added,
            extra_special_tokens=[token for token in COMMANDS if token not in defaults.values()],
            clean_up_tokenization_spaces=kwargs.pop("clean_up_tokenization_spaces", False),
            **named,
            **kwargs,
        )

    @property
    def sop_token_id(self) -> int:
        """Of <|startofpiece|>, the first token of an answer."""
        return self._added_tokens_encoder["<|startofpiece|>"]

    @property
    def eop_token_id(self) -> int:
        """Of <|endofpiece|>, the last."""
        return self._added_tokens_encoder["<|endofpiece|>"]

    @property
    def mask_token_ids(self) -> list[int]:
        """Of [MASK] (a word or phrase), [gMASK] (the rest of a text) and [sMASK] (a sentence)."""
        return [self._added_tokens_encoder[name] for name in ("[MASK]", "[gMASK]", "[sMASK]")]

    @property
    def blanks(self) -> BlankTokens:
        """The tokens a row is laid out by."""
        return BlankTokens(tuple(self.mask_token_ids), self.sop_token_id, self.eop_token_id, int(self.pad_token_id))

    def build_inputs_with_special_tokens(self, token_ids_0: list[int], token_ids_1: list[int] | None = None) -> list[int]:
        """`[CLS] A <|endoftext|>` or `[CLS] A [SEP] B <|endoftext|>`."""
        second = [] if token_ids_1 is None else [self.sep_token_id, *token_ids_1]
        return [self.cls_token_id, *token_ids_0, *second, self.eos_token_id]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Text of pieces; the ten tokens are written as they are called, and SentencePiece takes its own spaces away."""
        text: list[str] = []
        run: list[str] = []
        for token in tokens:
            if token in self._added_tokens_encoder:
                text += [self.sp_model.decode_pieces(run), token]
                run = []
            else:
                run.append(token)
        return "".join([*text, self.sp_model.decode_pieces(run)])

    def build_inputs_for_generation(
        self, texts: Sequence[str], targets: Sequence[str] | None = None, max_context: int | None = None
    ) -> dict[str, Tensor]:
        """Model inputs for texts with a blank, such as `问题：...？答：[MASK]`; see `kinnari.models.glm.inputs`.

        Args:
            targets: the answers, for inputs with labels.
            max_context: the most tokens of a context, cut on `truncation_side`.
        """
        contexts = self(list(texts), truncation=max_context is not None, max_length=max_context)["input_ids"]
        answers = None if targets is None else self(list(targets), add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return build_inputs_for_generation(contexts, self.blanks, answers)

    def build_inputs_for_multiple_choice(self, text: str, choices: Sequence[str]) -> MultipleChoice:
        """One row that scores all choices for the blank of `text`; see `kinnari.models.glm.inputs.choice_scores`."""
        answers = self(list(choices), add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return build_inputs_for_multiple_choice(self(text)["input_ids"], answers, self.blanks)


def _read_pieces(vocab_file: str) -> sentencepiece.SentencePieceProcessor:
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(Path(vocab_file)))
    except (OSError, RuntimeError, TypeError) as error:
        raise ConfigError(
            f"{vocab_file} is no SentencePiece model ({error}). Copy cog-pretrain.model of the checkpoint there again."
        ) from error
