"""The tokenizer of PanGu-alpha: jieba cuts the text into words, SentencePiece reads the words with spaces between them.

    "鹅是 什么\n"  ->  jieba 鹅 是 ␠ 什么 ⏎  ->  "鹅 是 ▂ 什么 ▃"  ->  SentencePiece ids
    ids  ->  SentencePiece text, its spaces deleted, ▂ a space, ▃ a line break

`<sep>` and the other special tokens in a template stay one token each; stock jieba alone would cut them at < and >.
Tabs, other line breaks and full-width spaces are lost, and full-width punctuation comes back as SentencePiece's normalisation writes it.
"""

import functools
import itertools
from typing import Any

from transformers.tokenization_utils_sentencepiece import SentencePieceBackend

from kinnari.errors import ConfigError

END_OF_SENTENCE = "</s>"
"""In the public vocabulary beside the five tokens with a role, and one token too."""
VISIBLE = str.maketrans(" \n", "▂▃")
INVISIBLE = str.maketrans({" ": None, "▂": " ", "▃": "\n"})


@functools.cache
def word_segmenter() -> Any:
    """A jieba tokenizer of our own: words that others add to jieba's do not change our tokens, and no cache file is read or written.

    jieba itself would keep its dictionary as jieba.cache in the machine's temporary folder, where anyone may have put another one.
    Reading the dictionary takes about a second, once a process.

    Raises:
        ConfigError: jieba is not installed.
    """
    try:
        import jieba
    except ImportError as error:
        raise ConfigError(
            "PanGu-alpha's tokenizer cuts text into words with jieba, which is not installed. Run pip install 'kinnari[zh]'."
        ) from error
    segmenter = jieba.Tokenizer()
    segmenter.FREQ, segmenter.total = segmenter.gen_pfdict(segmenter.get_dict_file())
    segmenter.initialized = True
    return segmenter


class PanguTokenizer(SentencePieceBackend):
    """Token ids of PanGu-alpha: bos `<s>` 1, sep `<sep>` 5, pad `<pad>` 6, eos `<eot>` 9 in the public vocab.model.

    One text becomes `<s> A <eot>`, a pair `<s> A <sep> B <eot>`; with `add_special_tokens=False` there is none of them.

    Args:
        vocab_file: the SentencePiece model, vocab.model in the model's folder.

    Raises:
        ConfigError: no such file, a file that is no SentencePiece model, or one without the special tokens.
    """

    vocab_files_names = {"vocab_file": "vocab.model"}  # noqa: RUF012  as the base class has it
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012

    def __init__(
        self,
        vocab_file: str | None = None,
        bos_token: Any = "<s>",
        eos_token: Any = "<eot>",
        unk_token: Any = "<unk>",
        sep_token: Any = "<sep>",
        pad_token: Any = "<pad>",
        **kwargs: Any,
    ) -> None:
        if vocab_file is None:
            raise ConfigError("PanGu-alpha's tokenizer needs the file vocab.model; put it beside the model's config.json.")
        kwargs.setdefault("clean_up_tokenization_spaces", False)
        specials = {"bos_token": bos_token, "eos_token": eos_token, "unk_token": unk_token, "sep_token": sep_token, "pad_token": pad_token}
        try:
            super().__init__(vocab_file=vocab_file, **specials, **kwargs)
        except RuntimeError as error:
            raise ConfigError(f"{vocab_file} is no SentencePiece model ({error}); copy vocab.model again.") from error
        absent = [str(token) for token in specials.values() if token is not None and self._id_in_file(str(token)) is None]
        if absent:
            raise ConfigError(
                f"{vocab_file} has no {', '.join(absent)}, so it is not PanGu-alpha's vocabulary. Take the file that came with the weights."
            )

        if self._id_in_file(END_OF_SENTENCE) is not None:
            self._add_tokens([END_OF_SENTENCE], special_tokens=True)

    def _id_in_file(self, token: str) -> int | None:
        index = self.sp_model.piece_to_id(token)
        return index if self.sp_model.id_to_piece(index) == token else None

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        text.encode()  # half a surrogate pair raises UnicodeEncodeError here, which SentencePiece would make a RuntimeError
        words = word_segmenter().cut(text, cut_all=False)
        return self.sp_model.encode(" ".join(word.translate(VISIBLE) for word in words), out_type=str)

    def _convert_id_to_token(self, index: int) -> str:
        # the embedding of the 13B model has 64 rows more than the vocabulary, and a model may sample one of them
        return self.sp_model.id_to_piece(index) if 0 <= index < self.vocab_size else str(self.unk_token)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Pieces and special tokens -> text; a special token stands as it is written."""
        specials = set(self._added_tokens_encoder)
        runs = itertools.groupby(tokens, key=specials.__contains__)
        return "".join("".join(run) if special else self.sp_model.decode(list(run)).translate(INVISIBLE) for special, run in runs)

    def build_inputs_with_special_tokens(self, token_ids_0: list[int], token_ids_1: list[int] | None = None) -> list[int]:
        """Ids of one text or of a pair, between bos and eos."""
        second = [] if token_ids_1 is None else [self.sep_token_id, *token_ids_1]
        return [i for i in (self.bos_token_id, *token_ids_0, *second, self.eos_token_id) if i is not None]

    def get_special_tokens_mask(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 where `build_inputs_with_special_tokens` puts a token of its own."""
        if already_has_special_tokens:
            return super().get_special_tokens_mask(token_ids_0, token_ids_1, already_has_special_tokens=True)
        # -1 is no token, so what is not -1 was put there
        second = None if token_ids_1 is None else [-1] * len(token_ids_1)
        return [int(i != -1) for i in self.build_inputs_with_special_tokens([-1] * len(token_ids_0), second)]


class GPTPanguTokenizer(PanguTokenizer):
    """The same under the name that the public config.json files call it by."""
