"""The translated half of WangChanGLM's English and Thai set, json lines of

    {"text": "<human>: Name a fruit.\\n<bot>: An apple.", "translated_text_replaced": "<human>: ผลไม้หนึ่งอย่าง\\n<bot>: แอปเปิล"}

The file does not say which source a row is of; `originals` joins it back. WangChanGLM: 380,049 rows of at most 512 tokens after
exact deduplication and without chip2's rows about code (chip2 204,044; infill 80,309; hc3 53,429; tldr 28,404; dolly 13,863).
Apache-2.0 as OIG, CC-BY-SA-3.0 (dolly) and CC-BY-SA-4.0 (hc3).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from datamodules.reading import shown
from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.oig_infill_dbpedia import BACKGROUND
from datamodules.sources.source import FileSource, Source
from datamodules.sources.wangchan_text import messages_from_wangchan
from kinnari.text.conversation import Conversation, Message, Reject

log = logging.getLogger(__name__)

COLUMNS = ("text", "translated_text_replaced")


@dataclass(frozen=True, kw_only=True)
class WangchanTranslated(FileSource):
    """Translated rows, of one of the five sources or all.

    Args:
        originals: the English source whose rows are kept, each once; None keeps those of all.
    """

    name: str = "wangchan_translated"
    language: str = "th"
    licence: str = "Apache-2.0"
    originals: Source | None = None

    def files(self) -> list[Path]:
        """The translated file and those of the originals."""
        return [*super().files(), *(self.originals.files() if self.originals else [])]

    def read(self) -> Iterator[Conversation | Reject]:
        """One conversation per row whose English text is among the originals; a second translation of one is rejected.

        Rows of other sources are no rejects, they are counted in the log: of five parts each would reject what the others keep.
        """
        wanted, foreign = self._wanted(), 0
        for number, (file, row) in enumerate(self.rows()):
            result = row.error or self.convert(row.value)
            if wanted is not None and not isinstance(result, str):
                key = _key(messages_from_wangchan(_headed(row.value["text"])))
                if key not in wanted:
                    foreign += 1
                    continue
                result = "its English text was translated before" if wanted[key] else result
                wanted[key] = True
            if isinstance(result, str):
                yield Reject(source=self.name, file=file, line=row.line, reason=result, row=shown(row.value))
                continue
            record = f"{self.name}:{number}"
            yield Conversation(messages=result, record_id=record, source=self.name, language=self.language, licence=self.licence)
        if foreign and wanted is not None:
            log.info("%s: %d rows are not among the %d originals and were passed over", self.name, foreign, len(wanted))

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """The translated dialogue, if it has the turns of the English one."""
        problem = wrong_text_columns(row, COLUMNS)
        if problem:
            return problem
        english, translated = (messages_from_wangchan(_headed(row[column])) for column in COLUMNS)
        if isinstance(english, str):
            return f"the English text: {english}"
        if isinstance(translated, str):
            return f"the translation: {translated}"
        if [(m.role, bool(m.context)) for m in english] != [(m.role, bool(m.context)) for m in translated]:
            return "the translation has other turns than the English text"
        return translated

    def _wanted(self) -> dict[bytes, bool] | None:
        """Hashes of the English dialogues -> whether one was met already."""
        if self.originals is None:
            return None
        return {_key(item.messages): False for item in self.originals.read() if isinstance(item, Conversation)}


def _headed(text: str) -> str:
    return BACKGROUND.sub("<context>:", text)


def _key(messages: Sequence[Message] | str) -> bytes:
    """Of what is said, without regard to spaces at the ends."""
    said = [replace(m, content=m.content.strip(), context=m.context.strip()) for m in messages if isinstance(m, Message)]
    return blake2b(repr(said).encode("utf-8", "surrogatepass"), digest_size=16).digest()
