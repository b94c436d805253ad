"""Chinese couplets, one on each line, the upper line, a separating character, and the lower line of the same length:

    晚风摇树树还挺 晨露润花花更红

The lower line is the answer to the upper one. Scores as in sunzeyeah/RLHF: the true lower line 1, two others of the same length 0,
two of another length -1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datamodules.reading.files import data_files, text_lines
from datamodules.reading.row import Row
from datamodules.sources.ranked import RankedSource, draws, joined
from datamodules.sources.text_pool import TextPool
from kinnari.text.conversation import Message, Reject
from kinnari.text.ranked import RankedAnswers, ScoredAnswer

DRAWN = 2  # worse lower lines of each kind


@dataclass(frozen=True, kw_only=True)
class Couplets(RankedSource):
    """A file of couplets.

    Args:
        path: the file, or a folder of such files.
        seed: of the worse lower lines; what is drawn for a couplet does not depend on its place in the file.
        separator: between the parts of the prompt; system R's own models take "<sep>".
    """

    path: str
    seed: int = 42
    separator: str = "\n"
    name: str = "couplets"
    language: str = "zh"

    def files(self) -> list[Path]:
        """The local files behind `path`."""
        return data_files(self.path)

    def read_ranked(self) -> Iterator[RankedAnswers | Reject]:
        """Reads the files twice: for the lower lines to draw from, which stay in memory, and then couplet by couplet."""
        pool = TextPool(((len(lower),), lower) for _, _, result in self._couplets() if not isinstance(result, str) for lower in result[1:])
        for number, (file, row, result) in enumerate(self._couplets()):
            if isinstance(result, str):
                yield Reject(source=self.name, file=file, line=row.line, reason=result, row=row.value)
                continue
            upper, lower = result
            generator, length = draws(self.seed, upper, lower), (len(lower),)
            worse = [(text, 0.0) for text in pool.draw(DRAWN, generator, within=length, but={lower})]
            worse += [(text, -1.0) for text in pool.draw(DRAWN, generator, outside=length)]
            answers = (ScoredAnswer(lower, 1.0), *(ScoredAnswer(text, score) for text, score in worse))
            prompt = Message("user", joined((f"上联：{upper}", "下联："), self.separator))
            yield self.ranked(((prompt,), answers), number)

    def _couplets(self) -> Iterator[tuple[str, Row, tuple[str, str] | str]]:
        for file in self.files():
            for row in text_lines(file, file.suffix):
                if row.error or str(row.value).strip():
                    yield str(file), row, row.error or halves(str(row.value).strip())


def halves(line: str) -> tuple[str, str] | str:
    """Upper and lower line, or the reason why the line is no couplet."""
    half = len(line) // 2
    if len(line) % 2 == 0 or half == 0:
        return f"a couplet has two halves of one length with one character between them; this line has {len(line)} characters"
    upper, lower = line[:half], line[half + 1 :]
    if upper != upper.strip() or lower != lower.strip():
        return "the two halves differ in length: a half begins or ends with a space"
    return upper, lower
