r"""ShareGPT in Korean, in the two layouts it is published in. Whole conversations (ShareGPT-74k-ko, junelee/sharegpt_deepl_ko):

    {"id": "QWJhYvA_0", "conversations": [{"from": "human", "value": "안녕하세요"}, {"from": "gpt", "value": "안녕하세요! ..."}]}

and single turns beside their translation (ko_shargpt_deepl_translate_cleaned_v2.json, 987 rows):

    {"instruction": "translate the following into English", "input": "Summarize the main ideas ...", "output": "... 요약하세요.\r\n",
     "text": "\nBelow is an instruction ..."}

The instruction of the latter is wrong in every row: the output is the Korean one. It is replaced by what the two texts say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.sharegpt import ShareGPT
from datamodules.sources.translation_pair import translation
from kinnari.errors import ConfigError
from kinnari.text.conversation import Message

PAIRS = ("as_given", "swapped", "plain")


@dataclass(frozen=True, kw_only=True)
class ShareGPTKo(ShareGPT):
    """Korean conversations, or pairs of an English turn and its translation.

    Args:
        pairs: what to make of single turns. `as_given` asks for the translation of `input` into `output`, `swapped` for the other
            way round; `plain` takes `input` for a question and `output` for the answer to it, with no instruction at all.
    """

    pairs: Literal["as_given", "swapped", "plain"] = "as_given"
    name: str = "sharegpt_ko"
    language: str = "ko"

    def __post_init__(self) -> None:
        """Check `pairs`.

        Raises:
            ConfigError: if it is none of the three.
        """
        if self.pairs not in PAIRS:
            raise ConfigError(f"data.{self.name}.pairs={self.pairs} is none of {', '.join(PAIRS)}.")

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """A conversation, or one turn and its translation."""
        if not isinstance(row, dict) or "output" not in row:
            return super().convert(row)
        problem = wrong_text_columns(row, ("input", "output"), ("instruction",))
        if problem:
            return problem
        # Translated with \r\n, unlike the originals.
        source, target = (row[side].replace("\r\n", "\n").strip() for side in ("input", "output"))
        if self.pairs == "plain":
            return Message("user", source), Message("assistant", target)
        return translation(target, source) if self.pairs == "swapped" else translation(source, target)

    def row_language(self, row: Any) -> str:
        """Korean, but English for the answers of swapped pairs."""
        return "en" if self.pairs == "swapped" and isinstance(row, dict) and "output" in row else self.language
