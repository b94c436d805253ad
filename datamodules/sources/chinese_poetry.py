"""Chinese poems asked for by author, genre and title, from a copy of chinese-poetry/chinese-poetry (MIT):

    以曹操的风格，写一首古体诗，题为观沧海        ->  东临碣石，以观沧海。水何澹澹，山岛竦峙。...

Scores as in sunzeyeah/RLHF: the poem 1, another of the same author and genre 0, one of the genre by another author -1, one of another
genre -2. Traditional characters become simplified ones. The files are described in `poetry_files.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from datamodules.reading import Row, read_rows
from datamodules.sources.poetry_files import Poem, poem_files, poem_of
from datamodules.sources.ranked import RankedSource, draws, joined
from datamodules.sources.source import one_place
from datamodules.sources.text_pool import TextPool
from kinnari.errors import ConfigError
from kinnari.text.conversation import Message, Reject
from kinnari.text.ranked import RankedAnswers, ScoredAnswer

PROSE = ("经书", "楚辞")  # counted in 篇, everything else in 首


@dataclass(frozen=True, kw_only=True)
class ChinesePoetry(RankedSource):
    """A copy of the repository, or a folder or file of it.

    Args:
        path: the copy; folders with Chinese or with romanised names.
        genres: those to keep (经书, 古体诗, 楚辞, 五言诗, 七言诗, 词, 曲), also for the worse answers; None for all.
        simplify: traditional characters to simplified ones, with OpenCC.
        seed: of the worse answers; what is drawn for a poem does not depend on its place.
        separator: ends the prompt where it is more than spacing; system R's own models take "<sep>".
    """

    path: str
    genres: list[str] | None = None
    simplify: bool = True
    seed: int = 42
    separator: str = "\n"
    name: str = "chinese_poetry"
    language: str = "zh"
    licence: str = "MIT"

    def __post_init__(self) -> None:
        """Refuse a list of folders."""
        one_place(self.name, self.path)

    def files(self) -> list[Path]:
        """The files of poems.

        Raises:
            ConfigError: if there are none.
        """
        found = [file for file, _ in poem_files(Path(self.path).expanduser())]
        if not found:
            raise ConfigError(
                f"data.{self.name}.path={self.path} holds no file of poems such as poet.tang.0.json or shijing.json. "
                "Give a copy of github.com/chinese-poetry/chinese-poetry."
            )
        return found

    def read_ranked(self) -> Iterator[RankedAnswers | Reject]:
        """Reads the files twice: for the poems to draw from, which stay in memory, and then poem by poem."""
        pool = TextPool(((p.genre, p.author), p.text) for _, _, p in self._poems() if isinstance(p, Poem))
        for number, (file, row, poem) in enumerate(self._poems()):
            if isinstance(poem, str):
                yield Reject(source=self.name, file=file, line=row.line, reason=poem, row=row.value)
                continue
            measure = "篇" if poem.genre in PROSE else "首"
            question = f"以{poem.author}的风格，写一{measure}{poem.genre}，题为{poem.title}"
            prompt = Message("user", joined((question, ""), self.separator))
            yield self.ranked(((prompt,), self._answers(poem, pool)), number)

    def _answers(self, poem: Poem, pool: TextPool) -> tuple[ScoredAnswer, ...]:
        generator = draws(self.seed, poem.genre, poem.author, poem.title, poem.text)
        own = (poem.genre, poem.author)
        found = [ScoredAnswer(poem.text, 1.0)]
        for score, within, outside in ((0.0, own, None), (-1.0, own[:1], own), (-2.0, (), own[:1])):
            shown = {answer.answer for answer in found}
            found += [ScoredAnswer(text, score) for text in pool.draw(1, generator, within=within, outside=outside, but=shown)]
        return tuple(found)

    def _poems(self) -> Iterator[tuple[str, Row, Poem | str]]:
        """(file, row, poem or why there is none) of the genres wanted."""
        self.files()
        simple = simplifier() if self.simplify else str
        for path, family in poem_files(Path(self.path).expanduser()):
            for file, row in read_rows(path):
                poem = row.error or poem_of(row.value, family)
                if isinstance(poem, Poem):
                    poem = replace(poem, author=simple(poem.author), title=simple(poem.title), text=simple(poem.text))
                    if self.genres is not None and poem.genre not in self.genres:
                        continue
                yield file, row, poem


def simplifier() -> Callable[[str], str]:
    """Traditional to simplified characters.

    Raises:
        ConfigError: if OpenCC is not installed.
    """
    try:
        from opencc import OpenCC
    except ImportError as problem:
        raise ConfigError(
            "data=chinese_poetry needs OpenCC to simplify characters: pip install 'kinnari[zh]', "
            "or keep them as they are with data.chinese_poetry.simplify=false."
        ) from problem
    return OpenCC("t2s").convert
