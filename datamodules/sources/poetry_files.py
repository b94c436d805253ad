"""The files of chinese-poetry/chinese-poetry (MIT) as poems, one shape out of eleven families of files:

    论语/lunyu.json            [{"chapter": "学而篇", "paragraphs": [...]}]            prose by one known author
    四书五经/daxue.json         {"chapter": "大学", "paragraphs": [...]}                mengzi.json is a list, daxue and zhongyong an object
    曹操诗集/caocao.json        [{"title", "paragraphs"}]
    诗经/shijing.json          [{"title", "chapter", "section", "content"}]
    楚辞/chuci.json            [{"title", "section", "author", "content"}]
    全唐诗/poet.tang.0.json    [{"title", "author", "paragraphs"}]                     poet.song.* as well
    宋词/ci.song.0.json        [{"rhythmic", "author", "paragraphs"}]
    纳兰性德/纳兰性德诗集.json   [{"title", "author", "para"}]
    五代诗词/huajianji/huajianji-1-juan.json, 五代诗词/nantang/poetrys.json, 元曲/yuanqu.json    [{"title", "author", "paragraphs"}]

Files are known by their names, so today's Chinese folders and the romanised ones of older copies (json, ci, wudai, ...) are alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEFT_OUT = {"strains", "rank", "error", "test_poetry", ".git"}  # patterns of tones, popularity: files of the same names
VERSE = "诗"  # its genre is told from the first line
FIVE, SEVEN = "五言诗", "七言诗"
OPENING_OF_FIVE = 12  # characters of a line of two halves of five, with both marks


@dataclass(frozen=True)
class Family:
    """What files of one name hold.

    Attributes:
        file: pattern of the file's name without `.json` and `.simplified`.
        author: where the rows name none.
        folder: pattern that the path must hold, where the file's name says too little.
    """

    file: str
    genre: str
    author: str = ""
    folder: str = ""


FAMILIES = (
    Family("lunyu", "经书", "孔子"),
    Family("daxue", "经书", "曾子"),
    Family("mengzi", "经书", "孟子"),
    Family("zhongyong", "经书", "孔伋"),
    Family("caocao", "古体诗", "曹操"),
    Family("shijing", "古体诗", "诗经"),
    Family("chuci", "楚辞"),
    Family(r"ci\.song\.\w+", "词"),
    Family("纳兰性德诗集|nalan.*", "词", "纳兰性德"),
    Family(r"huajianji-(?:[1-9]|x)-juan", "词"),
    Family("poetrys", "词", folder="nantang|南唐"),
    Family("yuanqu", "曲"),
    Family(r"poet\.(?:tang|song)\.\w+", VERSE),
)


@dataclass(frozen=True)
class Poem:
    """A work; `text` has its lines one after another without breaks."""

    genre: str
    author: str
    title: str
    text: str


def family_of(file: Path) -> Family | None:
    """The family of a file, None for one that holds no poems."""
    if LEFT_OUT & set(file.parts):
        return None
    stem = file.name.removesuffix(".json").removesuffix(".simplified")
    fits = (f for f in FAMILIES if re.fullmatch(f.file, stem) and re.search(f.folder, file.parent.as_posix()))
    return next(fits, None)


def poem_files(root: Path) -> Iterator[tuple[Path, Family]]:
    """The files of poems under `root`, sorted; a simplified copy only where the file itself is not there."""
    files = [root] if root.is_file() else sorted(root.rglob("*.json"))
    there = set(files)
    for file in files:
        plain = file.with_name(file.name.replace(".simplified.json", ".json"))
        family = family_of(file)
        if family and (plain == file or plain not in there):
            yield file, family


def poem_of(row: Any, family: Family) -> Poem | str:
    """The poem of a decoded row, or the reason why it is none."""
    if not isinstance(row, dict):
        return f"a row must be an object, this one is a {type(row).__name__}"
    lines = next((row[key] for key in ("paragraphs", "content", "para") if row.get(key)), None)
    lines = [lines] if isinstance(lines, str) else lines
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        return "the lines (paragraphs, content or para) are missing, empty or not a list of text"
    lines = [clean for line in lines if (clean := line.replace("\r", "").replace("\n", "").strip())]
    author, title = _text(row, "author") or family.author, _title(row)
    if not lines or not author or not title:
        return f"the {'lines are' if not lines else 'author is' if not author else 'title is'} missing or empty"
    genre = (FIVE if len(lines[0]) == OPENING_OF_FIVE else SEVEN) if family.genre == VERSE else family.genre
    return Poem(genre, author, title, "".join(lines))


def _title(row: dict[str, Any]) -> str:
    """The title; songs are known by their tune (`rhythmic`), and those of the Book of Songs by chapter and section as well."""
    title = _text(row, "title") or _text(row, "rhythmic")
    parts = (_text(row, "chapter"), _text(row, "section"), title) if "chapter" in row else (title,)
    return "·".join(part for part in parts if part)


def _text(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    return value.replace("\r", "").replace("\n", "").strip() if isinstance(value, str) else ""
