"""Texts that were damaged by reading them in the wrong encoding.

"à¸ªà¸§à¸±à¸ªà¸”à¸µ"      UTF-8 read as Windows-1252: สวัสดี
"caf\\ufffd au lait"         a byte that could not be decoded
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kinnari.cleaning.step import RowStep
from kinnari.cleaning.texts import ALL, check_where, shown, texts
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation

# What the bytes 0x80 to 0xff look like in Windows-1252; the five it leaves undefined, and those of Latin-1, stand for themselves.
_BYTES = {bytes([b]).decode("cp1252", "replace"): b for b in range(0x80, 0x100)} | {chr(b): b for b in range(0x80, 0x100)}
_BYTES.pop("\ufffd", None)
_RUN = re.compile("[" + "".join(re.escape(c) for c in _BYTES) + "]{2,}")


@dataclass(frozen=True)
class BrokenText(RowStep):
    """Removes a conversation with characters lost in decoding, or with UTF-8 that was read as Windows-1252 or Latin-1.

    Args:
        replacement_share: most of a text that may be U+FFFD, the mark of a byte that could not be read. A text about that
            character may show one.
        mojibake: sequences such as "Ã©" that a text may have; a text about encodings may show some.
        where: the parts each of whose texts is looked at.
    """

    replacement_share: float = 0.01
    mojibake: int = 2
    where: tuple[str, ...] = ALL

    def __post_init__(self) -> None:
        """Refuse impossible limits."""
        super().__post_init__()
        check_where(self.where, self)
        if not 0 <= self.replacement_share <= 1 or self.mojibake < 0:
            raise ConfigError(
                f"BrokenText: replacement_share={self.replacement_share} must be between 0 and 1 and mojibake={self.mojibake} 0 or more."
            )

    def __call__(self, conversation: Conversation) -> Conversation | str:
        """The conversation if its texts are whole."""
        for text in texts(conversation, self.where):
            if text.isascii():
                continue
            lost = text.count("\ufffd")
            if lost > self.replacement_share * len(text):
                return f"{lost} characters were lost in decoding (U+FFFD): {shown(text)}"
            sequences = mojibake_sequences(text)
            if sequences > self.mojibake:
                return f"{sequences} sequences of UTF-8 read as another encoding: {shown(text)}"
        return conversation


def mojibake_sequences(text: str) -> int:
    """Characters that were meant where a run of Windows-1252 letters is UTF-8: 2 for "Ã©tÃ©", 0 for "été"."""
    return sum(_characters_meant(run) for run in _RUN.findall(text))


def _characters_meant(run: str) -> int:
    data, position, count = bytes(_BYTES[c] for c in run), 0, 0
    while position < len(data):
        size = 2 if 0xC2 <= data[position] <= 0xDF else 3 if 0xE0 <= data[position] <= 0xEF else 4 if 0xF0 <= data[position] <= 0xF4 else 0
        continuation = data[position + 1 : position + size]
        if size and len(continuation) == size - 1 and all(0x80 <= b <= 0xBF for b in continuation):
            count, position = count + 1, position + size
        else:
            position += 1
    return count
