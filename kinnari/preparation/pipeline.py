"""Raw rows -> cleaned conversations -> held-out split and tokens, stage by stage; a stage that was done before is opened, not done.

    read-*     one per source                                  depends on   its files, the source's own arguments
    clean-*    per source with steps or a limit, then over all              the above, the steps in order, the limit and its seed
    split-*    questions, in groups                                         what was cleaned, the seed, held_out.near_duplicates
    tokens-*                                                                what was cleaned, template, tokenizer, limits, loss_on

So another template tokenises again and reads nothing, another number to hold out does neither; and all depend on the code that made them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from transformers import PreTrainedTokenizerBase

from kinnari.cleaning.step import Step
from kinnari.errors import ConfigError
from kinnari.models.cache import file_sha256
from kinnari.preparation.cleaning import clean, open_cleaned
from kinnari.preparation.conversations import ConversationTable, blocks_of
from kinnari.preparation.fingerprints import CODE, Unknowable, code_sha256, described, digest, tokenizer_sha256, without
from kinnari.preparation.reading import CONVERSATIONS, REJECTS, Readable, read_source
from kinnari.preparation.rejects import RejectLog
from kinnari.preparation.splitting import RANKS, HeldOut, held_out_of, rank_questions
from kinnari.preparation.store import Entry, Store
from kinnari.preparation.stored_records import StoredRecords, TokenFile
from kinnari.preparation.tokenising import tokenise
from kinnari.text.conversation import Conversation
from kinnari.text.records import Tokens
from kinnari.text.template import Renderer
from kinnari.text.tokens import SegmentEncoder, encode_conversations
from kinnari.text.truncation import Limits, parted

log = logging.getLogger(__name__)

TOKENISED_TOGETHER = 1 << 22  # characters: a tokenizer takes some hundred bytes for each token until a call returns
BESIDE_CONTENT = ("limit", "limit_seed", "weight", "steps")  # of a source: what its rows do not depend on


@runtime_checkable
class PreparedSource(Readable, Protocol):
    """What preparation needs of a source; see `datamodules.sources.source.Source`."""

    @property
    def licence(self) -> str: ...

    @property
    def limit(self) -> int | None: ...

    @property
    def limit_seed(self) -> int | None: ...

    @property
    def weight(self) -> float: ...

    @property
    def steps(self) -> Mapping[str, Step]: ...

    def files(self) -> list[Path]: ...


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How conversations become tokens; see `kinnari.text.tokens.encode_conversations`."""

    tokenizer: PreTrainedTokenizerBase
    template: Renderer
    limits: Limits
    loss_on: str = "answers"
    seq2seq: bool = False

    def shaped_by(self) -> dict[str, Any]:
        """Everything the tokens of a conversation depend on, without code."""
        limits, template = described(self.limits), described(self.template)
        names = {"loss_on": self.loss_on, "seq2seq": self.seq2seq}
        return {"tokenizer": tokenizer_sha256(self.tokenizer), "template": template, "limits": limits, **names}

    def __call__(self, conversations: Sequence[Conversation], encoder: SegmentEncoder) -> list[list[Tokens] | str]:
        """The rows of each conversation, more than one if it is split, or the reason why there are none."""
        found = encode_conversations(conversations, encoder, self.template, self.limits, self.loss_on, self.seq2seq)
        return [tokens if isinstance(tokens, str) else parted(tokens, self.limits) for tokens in found]


@dataclass(frozen=True)
class PreparedPart:
    """One source: where its rows were read to and, if it has steps or a limit of its own, cleaned to."""

    source: PreparedSource
    read: Entry
    cleaned: Entry | None


@dataclass(frozen=True)
class Prepared:
    """All that came of a preparation, on disk.

    Attributes:
        store: where it is; a temporary one lasts as long as this object.
        conversations: what is left after cleaning, of all sources in their order.
        tokens: of those of which something can be trained.
        train, held_out: the two sides as records.
        is_held_out: [conversations] bool; those without tokens are on the side of the questions they share.
    """

    store: Store
    parts: list[PreparedPart]
    cleaned: Entry | None
    split: Entry | None
    tokenised: Entry
    conversations: ConversationTable
    tokens: TokenFile
    train: StoredRecords
    held_out: StoredRecords
    is_held_out: np.ndarray

    @property
    def entries(self) -> list[Entry]:
        """The stages in order."""
        own = [entry for part in self.parts for entry in (part.read, part.cleaned) if entry is not None]
        return [*own, *(entry for entry in (self.cleaned, self.split) if entry is not None), self.tokenised]

    @property
    def found(self) -> bool:
        """Whether nothing had to be done."""
        return all(entry.found for entry in self.entries)

    def rejects(self, dropped: bool = False) -> RejectLog:
        """What reading and cleaning left out, in their order; `dropped`: and of what nothing could be trained."""
        entries = [entry for entry in self.entries if entry is not self.split and (dropped or entry is not self.tokenised)]
        return _reject_log(entries)

    def table_of(self, records: StoredRecords) -> ConversationTable:
        """The conversations of records, in their order, each with the language that was told."""
        return self.conversations.take(records.conversations, records.languages)


def prepare(
    sources: Iterable[PreparedSource],
    steps: Mapping[str, Step],
    held_out: HeldOut,
    encoding: Encoding,
    store: Store,
    *,
    seed: int = 42,
    workers: int | str = "auto",
    code: Sequence[str] = (),
    show: bool = True,
) -> Prepared:
    """Do what has not been done yet, and open it.

    Args:
        steps: cleaning of all sources together, name -> step, in order, after the steps of each source.
        seed: of the draw for a source's limit, unless the source has a `limit_seed`.
        workers: processes, or `auto`; nothing depends on it but time.
        code: packages besides Kinnari's own whose code shapes the result (that of the sources).
        show: progress lines.

    Raises:
        ConfigError: a source holds no usable row, two sources have one name, or cleaning leaves nothing.
    """
    run = _Run(store, code_sha256([*CODE, *code]), workers, show)
    parts, cleaned, table, key = run.read_and_clean(sources, steps, seed)
    divided = None
    if held_out.most > 0 and held_out.fraction != 0:
        grouping: dict[str, Any] = {"seed": held_out.seed, "near_duplicates": held_out.near_duplicates}
        divided = run.entry("split", {"cleaned": key, **grouping}, partial(rank_questions, table, **grouping))
    tokenised = run.tokenised(key, table, encoding)
    tokens = TokenFile(tokenised.folder)
    held = np.zeros(len(table), dtype=bool)
    if divided is not None:
        held = held_out_of(np.load(divided.folder / RANKS), tokens.conversation, held_out)
    lost = np.load(tokenised.folder / "dropped.npy")
    sides = [StoredRecords(tokens, np.flatnonzero(side[tokens.conversation]), lost[side[lost]]) for side in (~held, held)]
    return Prepared(store, parts, cleaned, divided, tokenised, table, tokens, sides[0], sides[1], held)


def read_and_clean(
    sources: Iterable[PreparedSource],
    steps: Mapping[str, Step],
    store: Store,
    *,
    seed: int = 42,
    workers: int | str = "auto",
    code: Sequence[str] = (),
    show: bool = True,
) -> tuple[ConversationTable, RejectLog]:
    """The first two stages alone, for who wants conversations and no tokens; arguments and errors are those of `prepare`.

    Keep `store` as long as the table: a temporary one ends with its object.
    """
    run = _Run(store, code_sha256([*CODE, *code]), workers, show)
    parts, cleaned, table, _ = run.read_and_clean(sources, steps, seed)
    own = [entry for part in parts for entry in (part.read, part.cleaned) if entry is not None]
    return table, _reject_log([*own, *([cleaned] if cleaned else [])])


@dataclass(frozen=True)
class _Run:
    """One preparation: the stages, each made or found."""

    store: Store
    code: str
    workers: int | str
    show: bool

    def entry(self, stage: str, shaped_by: Mapping[str, Any] | None, build: Any) -> Entry:
        """A stage whose builder takes the folder, `workers` and `show`."""
        values = None if shaped_by is None else {**shaped_by, "code": self.code}
        return self.store.entry(stage, values, lambda folder: build(folder=folder, workers=self.workers, show=self.show))

    def read_and_clean(
        self, sources: Iterable[PreparedSource], steps: Mapping[str, Step], seed: int
    ) -> tuple[list[PreparedPart], Entry | None, ConversationTable, str]:
        """(sources, their joint cleaning, what it leaves, the key of that)."""
        pairs = [self.part(source, seed) for source in _distinct(sources)]
        parts, tables = [part for part, _ in pairs], [table for _, table in pairs]
        table, key = ConversationTable.concatenated(tables), _joint_key([part.cleaned or part.read for part in parts])
        cleaned = None
        if steps:
            cleaned = self.cleaned("clean", key, table, steps)
            table, key = open_cleaned(cleaned.folder, table), cleaned.key
        if len(table) == 0:
            raise ConfigError(_all_removed([*parts, cleaned]))
        return parts, cleaned, table, key

    def part(self, source: PreparedSource, seed: int) -> tuple[PreparedPart, ConversationTable]:
        """A source, read and cleaned by its own steps."""

        def build(folder: Path, **_: Any) -> None:
            read_source(source, folder, self.show)

        read = self.entry("read", _shaped_by_files(source), build)
        counts = read.counts()
        if counts["kept"] == 0:
            raise ConfigError(_all_bad(source.name, counts))
        table = ConversationTable.open(read.folder / CONVERSATIONS)
        limit = source.limit if source.limit is not None and source.limit < len(table) else None
        if not source.steps and limit is None:
            return PreparedPart(source, read, None), table
        drawn = partial(draw, limit=limit, seed=seed if source.limit_seed is None else source.limit_seed) if limit is not None else None
        cleaned = self.cleaned("clean", read.key, table, source.steps, drawn)
        return PreparedPart(source, read, cleaned), open_cleaned(cleaned.folder, table)

    def cleaned(self, stage: str, key: str, table: ConversationTable, steps: Mapping[str, Step], drawn: Any = None) -> Entry:
        """A table after steps and, perhaps, a draw."""
        try:
            rules = [[name, described(step)] for name, step in steps.items()]
            shaped_by = {"of": key, "steps": rules, "drawn": None if drawn is None else drawn.keywords}
        except Unknowable as why:
            log.warning("what cleaning leaves is not kept for the next run: %s", why)
            shaped_by = None
        return self.entry(stage, shaped_by, partial(clean, table, steps, drawn=drawn))

    def tokenised(self, key: str, table: ConversationTable, encoding: Encoding) -> Entry:
        """The tokens of a table."""
        try:
            shaped_by = {"cleaned": key, **encoding.shaped_by()}
        except Unknowable as why:
            log.warning("tokens are not kept for the next run: %s", why)
            shaped_by = None
        encoder = SegmentEncoder(encoding.tokenizer)

        def encode(block: list[Conversation]) -> list[list[Tokens] | str]:
            return [tokens for part in blocks_of(block, TOKENISED_TOGETHER) for tokens in encoding(part, encoder)]

        return self.entry("tokens", shaped_by, partial(tokenise, table, encode))


def _reject_log(entries: Sequence[Entry]) -> RejectLog:
    """What some stages left out, in their order."""
    total = 0
    for entry in entries:
        counts = entry.counts()
        removed = sum(n for sources in counts.get("removed", {}).values() for languages in sources.values() for n in languages.values())
        total += counts.get("rejected", 0) + removed + sum(row[-1] for row in counts.get("dropped", []))
    return RejectLog([entry.folder / REJECTS for entry in entries], total)


def draw(count: int, limit: int, seed: int) -> np.ndarray:
    """Positions of `limit` of `count` conversations, ascending; those that pandas' `sample(limit, random_state=seed)` draws."""
    if limit >= count:
        return np.arange(count)
    return np.sort(np.random.RandomState(seed).choice(count, size=limit, replace=False))


def _shaped_by_files(source: PreparedSource) -> dict[str, Any] | None:
    """What a source's rows depend on; None where they come from the network, or from code without a file."""
    files = source.files()
    if not files:
        return None
    try:
        # The names too: rejects tell them, and the ending decides how a file is read.
        content = [[str(file), file_sha256(file)] for file in files]
        return {"source": without(described(source), *BESIDE_CONTENT), "files": content}
    except Unknowable as why:
        log.debug("%s is read again in every run: %s", source.name, why)
        return None


def _joint_key(entries: list[Entry]) -> str:
    return digest([entry.key for entry in entries])


def _distinct(sources: Iterable[PreparedSource]) -> list[PreparedSource]:
    found = list(sources)
    names = [source.name for source in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"Two sources of data= are both named {twice[0]}, so their records could not be told apart. Give one another name: "
            f"data.OPTION.name=NAME."
        )
    return found


def _all_bad(name: str, counts: Mapping[str, Any]) -> str:
    if not counts["rejected"]:
        return f"{name}: the source holds no row; check data.{name}.path."
    return f"{name}: all {counts['rejected']} rows were rejected, so there is nothing to train on. The first: {counts['first']}."


def _all_removed(parts: Sequence[Any]) -> str:
    entries = [part if isinstance(part, Entry) else part and part.cleaned for part in parts]
    steps: dict[str, int] = {}
    for entry in filter(None, entries):
        for step, sources in entry.counts()["removed"].items():
            steps[step] = steps.get(step, 0) + sum(n for languages in sources.values() for n in languages.values())
    told = ", ".join(f"{step} {count}" for step, count in steps.items() if count)
    return f"Cleaning removed every conversation ({told}). Loosen cleaning.steps, or the steps of the sources, or leave some out."
