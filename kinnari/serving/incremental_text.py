"""Tokens one by one -> text in whole characters: what is told is never taken back.

tokens of a byte vocabulary    E0 B8 AA   E0 B8   A7      ท่าน\n\nUs  er:
text that is told              ส                  ว       ท่าน           (held: \n\nUs may begin the stop text "\n\nUser:")
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

BROKEN = "\ufffd"  # what decoding writes for bytes that are no character, or not yet one
CLEANED = 4  # characters in which `clean_up_tokenization_spaces` may still take a space away, as in " n't"


class IncrementalText:
    """The text of one answer as its tokens come.

    All tokens are decoded each time: what a token adds depends, in some vocabularies, on those before it, and decoding a thousand of them
    costs a fraction of a millisecond.

    Args:
        tokenizer: of the model that answers.
        stops: texts that end the answer and are not part of it.

    Attributes:
        told: the text so far. Joined pieces are what `tokenizer.decode` makes of all tokens without special ones, up to the first
            stop text, and without a last character that was cut off in its midst.
        stopped: a stop text has come.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str] = ()) -> None:
        self.tokenizer, self.stops = tokenizer, tuple(stop for stop in stops if stop)
        self.held = CLEANED if tokenizer.clean_up_tokenization_spaces else 0
        self.token_ids: list[int] = []
        self.told = ""
        self.stopped = False

    def add(self, token: int) -> str:
        """The piece of text that can be told after one more token; often empty."""
        self.token_ids.append(token)
        text = self._whole()
        found = [at for stop in self.stops if (at := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            return self._tell(text[: min(found)])
        return self._tell(text[: len(text) - max(self.held, self._may_begin_a_stop(text))])

    def finish(self) -> str:
        """What was held back; nothing after a stop text."""
        return "" if self.stopped else self._tell(self._whole())

    def _whole(self) -> str:
        return str(self.tokenizer.decode(self.token_ids, skip_special_tokens=True)).rstrip(BROKEN)

    def _may_begin_a_stop(self, text: str) -> int:
        """Characters at the end of `text` that are the beginning of a stop text."""
        longest = max((len(stop) for stop in self.stops), default=1) - 1
        return next((n for n in range(min(longest, len(text)), 0, -1) if any(stop.startswith(text[-n:]) for stop in self.stops)), 0)

    def _tell(self, text: str) -> str:
        # A decoder with byte fallback spells a character anew as broken bytes while the next one is incomplete: then this waits.
        if len(text) <= len(self.told) or not text.startswith(self.told):
            return ""
        piece = text[len(self.told) :]
        self.told = text
        return piece
