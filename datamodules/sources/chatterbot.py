"""Dialogues of the ChatterBot corpus, YAML files of the registry package `chatterbot-corpus`:

    categories: [AI]
    conversations:
    - - What is AI?                                            a question,
      - Artificial Intelligence is the branch of engineering ...   its answer, and so on in turns

28 languages with one folder each. The same question occurs with several answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from datamodules.sources.source import Source
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation, Message, Reject

ISO_639_1 = {"english": "en", "chinese": "zh", "traditionalchinese": "zh", "tchinese": "zh", "korean": "ko", "japanese": "ja"}
ISO_639_1 |= {"thai": "th", "german": "de", "french": "fr", "spanish": "es", "italian": "it", "portuguese": "pt"}
ISO_639_1 |= {"russian": "ru", "hindi": "hi", "indonesian": "id", "turkish": "tr", "swedish": "sv", "hebrew": "he"}


@dataclass(frozen=True, kw_only=True)
class ChatterBot(Source):
    """The corpus in the languages asked for.

    Args:
        languages: names of the corpus's folders, such as english, korean, chinese, japanese, thai.
        subjects: file names without ending to keep (coding, tech_support, ...); None for all.
    """

    languages: list[str] = field(default_factory=lambda: ["english"])
    subjects: list[str] | None = None
    name: str = "chatterbot"
    licence: str = "BSD-3-Clause"

    def files(self) -> list[Path]:
        """The YAML files of the chosen languages and subjects.

        Raises:
            ConfigError: if the package, a language or a subject is not there; the message lists what is.
        """
        root = corpus_folder()
        offered = sorted(p.name for p in root.iterdir() if p.is_dir())
        unknown = [language for language in self.languages if language not in offered]
        if unknown:
            raise ConfigError(f"data.chatterbot.languages={unknown} not in the corpus; it has: {', '.join(offered)}.")
        found = [p for language in self.languages for p in sorted((root / language).glob("*.yml"))]
        if self.subjects is None:
            return found
        kept = [p for p in found if p.stem in self.subjects]
        missing = set(self.subjects) - {p.stem for p in kept}
        if missing:
            subjects = ", ".join(sorted({p.stem for p in found}))
            raise ConfigError(f"data.chatterbot.subjects={sorted(missing)} not in the corpus; it has: {subjects}.")
        return kept

    def read(self) -> Iterator[Conversation | Reject]:
        """Every dialogue, its turns alternating between user and assistant."""
        for path in self.files():
            for number, (line, turns) in enumerate(dialogues(path)):
                language = ISO_639_1.get(path.parent.name, path.parent.name)
                messages = alternate(turns)
                if messages is None:
                    reason = "a dialogue must be a list of at least a question and an answer"
                    yield Reject(source=self.name, file=str(path), line=line, reason=reason, row=str(turns)[:200])
                    continue
                yield Conversation(
                    messages=messages,
                    record_id=f"{self.name}:{path.parent.name}/{path.stem}:{number}",
                    source=self.name,
                    language=language,
                    licence=self.licence,
                )


def corpus_folder() -> Path:
    """The installed corpus; the package is found, not imported (importing it would run its code for nothing)."""
    spec = find_spec("chatterbot_corpus")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("data=chatterbot needs the package chatterbot-corpus: pip install chatterbot-corpus==1.3.3.")
    return Path(spec.submodule_search_locations[0]) / "data"


def dialogues(path: Path) -> Iterator[tuple[int, Any]]:
    """(line, turns) of each dialogue in a corpus file."""
    # The C parser: with the Python one the corpus takes seconds. Nodes, not objects: nothing is constructed from YAML tags.
    loader = yaml.CSafeLoader(path.read_text(encoding="utf-8"))
    try:
        document = loader.get_single_node()
    finally:
        loader.dispose()
    if not isinstance(document, yaml.MappingNode):
        return
    for key, value in document.value:
        if key.value == "conversations" and isinstance(value, yaml.SequenceNode):
            for node in value.value:
                yield node.start_mark.line + 1, _scalars(node)


def _scalars(node: yaml.Node) -> Any:
    """Turns as the text that stands in the file: YAML would turn `No` into False and `1984` into a number."""
    if isinstance(node, yaml.SequenceNode):
        return [turn.value if isinstance(turn, yaml.ScalarNode) else None for turn in node.value]
    return None


def alternate(turns: Any) -> tuple[Message, ...] | None:
    """Question, answer, question, answer; a last question without answer is left off; None if nothing is left."""
    if not isinstance(turns, list) or not all(isinstance(turn, str) and turn.strip() for turn in turns):
        return None
    even = turns[: len(turns) // 2 * 2]
    if not even:
        return None
    return tuple(Message("assistant" if i % 2 else "user", turn.strip()) for i, turn in enumerate(even))
