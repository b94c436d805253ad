"""A translated set: conversations in, translated conversations out, with everything that went wrong kept aside.

    conversations.jsonl   the set, in the messages layout that data=file reads
    joined.jsonl          {record_id, source_language, target_language, direction, messages, messages_translated}
    rejects.jsonl         rows that are not in the set, with the reason; a failed or doubtful text with what was made of it
    failures.jsonl        texts the engine could not translate, with the number of runs that tried

Rows are worked on in windows, so that memory does not grow with the set. The files are written anew by each run; what a killed run has
translated already is in the cache, so that the next one is there again at once.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from kinnari.errors import ConfigError
from kinnari.preparation.conversations import flaw_of, stretches
from kinnari.preparation.rejects import reject_line
from kinnari.text.conversation import Conversation, Reject
from kinnari.translation import rows
from kinnari.translation.checks import TranslationChecks
from kinnari.translation.languages import LANGUAGES, language
from kinnari.translation.translator import Progress, Translation, Translator, no_progress

MODES = ("translated", "both", "translation_pairs")
WINDOW_ROWS = 2000
WINDOW_CHARACTERS = 1 << 22
FILES = ("conversations", "joined", "rejects", "failures")


@dataclass(frozen=True, kw_only=True)
class SetSettings:
    """What is built.

    Args:
        mode: `translated`, `both` (each original before its translation), or `translation_pairs` (requests to translate).
        target: language of the set, ISO 639-1.
        source: language of every row; None for each row's own, told from its text where the row does not say.
        fields: what is translated: system, user, context, assistant.
        directions: of translation pairs: forward (into the target), backward, or both.

    Raises:
        ConfigError: a value that does not exist.
    """

    mode: str = "translated"
    target: str
    source: str | None = None
    fields: Sequence[str] = rows.FIELDS
    directions: Sequence[str] = rows.DIRECTIONS
    checks: TranslationChecks = field(default_factory=TranslationChecks)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(f"task.mode={self.mode} is unknown. Choose one of {', '.join(MODES)}, export_texts.")
        for code in (self.target, self.source):
            if code is not None:
                language(code)
        rows.check_fields(self.fields)
        if not self.directions or set(self.directions) - set(rows.DIRECTIONS):
            raise ConfigError(f"task.directions={list(self.directions)} must name forward, backward or both.")


@dataclass
class SetCounts:
    """Conversations by what became of them; `rejected` by step, with the rows that were none."""

    rows: int = 0
    translated: int = 0
    unchanged: int = 0  # in the target language already, or nothing to translate
    failed: int = 0
    written: int = 0
    characters: int = 0
    rejected: Counter = field(default_factory=Counter)
    directions: Counter = field(default_factory=Counter)


class TranslatedSet:
    """Builds the files in `folder`; use within `with`."""

    def __init__(self, translator: Translator, settings: SetSettings, folder: Path) -> None:
        self.translator, self.settings, self.folder = translator, settings, folder
        self.counts = SetCounts()
        self._seen: set[bytes] = set()
        self._failures: set[tuple[str, str]] = set()
        self._streams: dict[str, IO[str]] = {}

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            for name in FILES:
                # What is not translated may hold half a surrogate pair, which JSON writes as an escape.
                stream = (self.folder / f"{name}.jsonl").open("w", encoding="utf-8", errors="backslashreplace")
                self._streams[name] = stack.enter_context(stream)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *problem: object) -> None:
        self._open.close()

    def build(self, conversations: Iterable[Conversation | Reject], on_progress: Progress = no_progress) -> SetCounts:
        """Translate, check and write everything; `on_progress` counts characters of the rows done."""
        for window in windows(map(_sound, conversations)):
            size = sum(map(row_characters, window))
            begun = self.counts.characters
            self._window(window, lambda share, begun=begun, size=size: on_progress(begun + int(share * size)))  # type: ignore[misc]
            self.counts.characters = begun + size
            on_progress(begun + size)
        return self.counts

    def _window(self, window: Sequence[Conversation | Reject], on_share: Any) -> None:
        spoken = [source_language(row, self.settings) for row in window]
        results: dict[str, dict[str, Translation]] = {}
        wanted: dict[str, list[str]] = {}
        for row, code in zip(window, spoken, strict=True):
            if isinstance(row, Conversation) and code in LANGUAGES and code != self.settings.target:
                wanted.setdefault(code, []).extend(rows.texts(row, self.settings.fields))
        total = max(1, sum(map(len, wanted.values())))
        done = 0
        for code, texts in wanted.items():
            answers = self.translator.translate(texts, code, self.settings.target, lambda n, done=done: on_share((done + n) / total))  # type: ignore[misc]
            results[code] = dict(zip(texts, answers, strict=True))
            done += len(texts)
        for row, code in zip(window, spoken, strict=True):
            self._row(row, code, results.get(code, {}))

    def _row(self, row: Conversation | Reject, code: str, results: Mapping[str, Translation]) -> None:
        if isinstance(row, Reject):
            self._reject(row)
            return
        self.counts.rows += 1
        step, reason, detail = self._doubts(row, code, results)
        if reason is not None:
            detail = {"messages": [rows.message_row(m) for m in row.messages], **detail}
            self._reject(Reject(source=row.source, file=row.record_id, line=0, reason=reason, row=detail, step=step))
            return
        texts = rows.texts(row, self.settings.fields)
        if code == self.settings.target or not texts:
            self.counts.unchanged += 1
            self._write_conversation(row)
            return
        self.counts.translated += 1
        self._write(row, code, {text: results[text].text or "" for text in texts})

    def _doubts(self, row: Conversation, code: str, results: Mapping[str, Translation]) -> tuple[str, str | None, dict[str, Any]]:
        """(step, reason or None, the text in question) of a row that must not get into the set."""
        settings, pairs = self.settings, self.settings.mode == "translation_pairs"
        said = rows.digest(row)
        if said in self._seen:
            return "duplicates", "an earlier row says the same", {}
        self._seen.add(said)
        if code not in LANGUAGES:
            why = f"its language {code!r} is not known to the translation layer" if code else "its language cannot be told from the text"
            return "language", f"{why}; task.source=CODE states it", {}
        if pairs and code == settings.target:
            return "language", f"it is in {code} already", {}
        if pairs and not rows.texts(row, settings.fields):
            return "translation", "nothing in it is to be translated", {}
        for text in rows.texts(row, settings.fields) if code != settings.target else ():
            result = results[text]
            if result.text is None:
                self._failure(text, code, result)
                return "translation", result.error, {"text": text, "attempts": result.attempts}
            problem = settings.checks.problem(text, result.text, code, settings.target)
            if problem:
                return "checks", problem, {"text": text, "translation": result.text}
        return "", None, {}

    def _write(self, row: Conversation, code: str, translations: Mapping[str, str]) -> None:
        settings = self.settings
        translation = rows.translated(row, translations, settings.fields, settings.target)
        self._put("joined", rows.joined_row(row, translation, code, settings.target))
        if settings.mode == "translation_pairs":
            pairs = rows.translation_pairs(row, translations, settings.fields, code, settings.target, settings.directions)
            for direction, pair in pairs:
                said = rows.digest(pair)
                if said not in self._seen:
                    self._seen.add(said)
                    self.counts.directions[direction] += 1
                    self._write_conversation(pair, direction=direction)
            return
        self.counts.directions[f"{code}->{settings.target}"] += 1
        if settings.mode == "both":
            self._write_conversation(dataclasses.replace(row, language=row.language or code))
        self._write_conversation(translation, direction=f"{code}->{settings.target}", translated_from=row.record_id)

    def _write_conversation(self, conversation: Conversation, **more: str) -> None:
        self.counts.written += 1
        self._put("conversations", rows.messages_row(conversation) | more)

    def _failure(self, text: str, code: str, result: Translation) -> None:
        self.counts.failed += 1
        if (code, text) not in self._failures:
            self._failures.add((code, text))
            row = {"text": text, "source": code, "target": self.settings.target, "error": result.error, "attempts": result.attempts}
            self._put("failures", row)

    def _reject(self, reject: Reject) -> None:
        self.counts.rejected[reject.step] += 1
        self._streams["rejects"].write(reject_line(reject))

    def _put(self, name: str, row: Mapping[str, Any]) -> None:
        self._streams[name].write(json.dumps(row, ensure_ascii=False) + "\n")


def _sound(row: Conversation | Reject) -> Conversation | Reject:
    """The row, or a reject where a source has handed over what cannot be written."""
    if isinstance(row, Reject) or (flaw := flaw_of(row)) is None:
        return row
    return Reject(source=row.source, file=row.record_id, line=0, reason=flaw, row=vars(row))


def windows(conversations: Iterable[Conversation | Reject]) -> Iterator[list[Conversation | Reject]]:
    """Stretches of rows of bounded size, in order."""
    return stretches(conversations, row_characters, WINDOW_ROWS, WINDOW_CHARACTERS)


def row_characters(row: Conversation | Reject) -> int:
    """Characters of all messages and contexts; a rejected row has none."""
    return sum(len(m.content) + len(m.context) for m in row.messages) if isinstance(row, Conversation) else 0


def source_language(row: Conversation | Reject, settings: SetSettings) -> str:
    """The language to translate a row from; empty where nobody can know."""
    if isinstance(row, Reject):
        return ""
    if settings.source is not None or row.language:
        return settings.source or row.language
    from kinnari.text.language import language_of  # loads a model for Latin text

    return language_of(row.reference()) or language_of(row.question)
