"""Commands as people copy them from a page: out of fenced blocks and indented lines, comments off, a sweep's first trial."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page: Path) -> Iterator[str]:
    """Every line of a page's shell blocks (``` or four spaces) that is no comment, continued lines joined."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```bash[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(
        r"^    (python (?:launch|benchmarks).*|tensorboard .*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M
    )
    for line in [*"\n".join(blocks).splitlines(), *indented]:
        words = shlex.split(line, comments=True)
        if words:
            yield shlex.join(words)


def overrides(command: str) -> list[str] | None:
    """What a `python launch.py ...` chooses, the first value of each word of a sweep; None for other commands."""
    words = shlex.split(command)
    while words and "=" in words[0]:  # VARIABLE=value in front
        words.pop(0)
    if words[:1] == ["taskset"]:
        words = words[3:]
    if words[:2] != ["python", "launch.py"]:
        return None
    sweep = {"-m", "--multirun"} & set(words)
    chosen = [word for word in words[2:] if re.match(r"[+~]?[\w/@.]+=", word) and not word.startswith("hydra")]
    return [first_of_sweep(word) for word in chosen] if sweep else chosen


def first_of_sweep(word: str) -> str:
    """`a=b,c` -> `a=b`; lists and quoted texts stay whole."""
    key, _, value = word.partition("=")
    return word if value[:1] in ("[", "{", "'", '"') else f"{key}={value.split(',')[0]}"
