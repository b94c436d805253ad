"""Files as streams of text: packed ones unpacked, the encoding told from the first bytes, damaged bytes marked."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PACKED: dict[str, Callable[[Path], IO[bytes]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}  # type: ignore[dict-item]
_UNPACKED = 1 << 16  # bytes unpacked at a time
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError)
# Every undecodable stretch becomes one surrogate, whatever the encoding; `surrogateescape` cannot do that for UTF-16.
codecs.register_error("kinnari.mark", lambda problem: ("\udcff", problem.end))  # type: ignore[attr-defined]


def _plain(path: Path) -> IO[bytes]:
    return open(path, "rb")


class TextStream:
    """A file opened as text.

    Attributes:
        text: the stream; lines end at \\n alone (U+2028 and a lone \\r are legal inside JSON strings).
        damage: why a packed file could not be unpacked to its end; known once the stream is exhausted.
    """

    def __init__(self, path: Path, newline: str = "\n") -> None:
        opened = PACKED.get(path.suffix.lower(), _plain)(path)
        self._bytes = _UntilDamage(opened) if path.suffix.lower() in PACKED else opened
        buffered = io.BufferedReader(self._bytes, 1 << 20)  # type: ignore[type-var]
        start = buffered.peek(4)[:4]
        utf16 = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        # surrogateescape keeps bytes that are not UTF-8 recognisable, so that only the rows holding them are rejected.
        encoding, errors = ("utf-16", "kinnari.mark") if utf16 else ("utf-8-sig", "surrogateescape")
        self.text = io.TextIOWrapper(buffered, encoding=encoding, errors=errors, newline=newline)

    @property
    def damage(self) -> str | None:
        problem = self._bytes.problem if isinstance(self._bytes, _UntilDamage) else None
        return f"the packed file is damaged from here on: {problem}" if problem else None


@contextmanager
def open_text(path: Path, newline: str = "\n") -> Iterator[TextStream]:
    """The file as a stream of text, closed at the end.

    Args:
        newline: as in `open`; "" for csv, whose quoted fields may hold any line end.
    """
    stream = TextStream(path, newline)
    try:
        yield stream
    finally:
        stream.text.close()


class _UntilDamage(io.RawIOBase):
    """Bytes of a packed file up to where it is damaged: the rows before are whole and are kept."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self._inner = inner
        self.problem: str | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.problem is not None:
            return 0
        try:
            # read1 hands out what is unpacked so far; read would lose it when it comes upon the damage.
            data = self._inner.read1(min(len(memoryview(buffer)), _UNPACKED))
        except _DAMAGE as problem:
            self.problem = str(problem) or type(problem).__name__
            return 0
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._inner.close()
        super().close()
