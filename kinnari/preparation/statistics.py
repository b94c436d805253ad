"""What a preparation came to, in numbers: per source, language and stage; gathered from counts and columns, not from text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from kinnari.preparation.pipeline import Prepared, PreparedPart
from kinnari.preparation.rejects import READ, TOKENISE
from kinnari.preparation.stored_records import TokenFile
from kinnari.text.lineage import file_lineage

UNKNOWN = "unknown"  # how an empty language is shown
BINS_PER_DOUBLING = 2


def sources(prepared: Prepared) -> dict[str, dict[str, Any]]:
    """Per source, by its name: licence, files, and what became of its rows at every stage.

    `rows_read == rejected + sum of removed + not_drawn + dropped + train + held_out - later_parts`.
    """
    overall = prepared.cleaned.counts()["removed"] if prepared.cleaned else {}
    lost = prepared.tokenised.counts()["dropped"]
    train, held_out = prepared.train.sources.counts(), prepared.held_out.sources.counts()
    codes, names = prepared.tokens.codes("source")
    parts = Counter({name: int(prepared.tokens.later_parts[codes == code].sum()) for code, name in enumerate(names)})
    found = {part.source.name: _source(part, overall, lost, train, held_out) for part in prepared.parts}
    return {name: values | {"later_parts": parts[name]} for name, values in found.items()}


def _source(
    part: PreparedPart, overall: Mapping[str, Any], lost: list[list[Any]], train: Counter[str], held_out: Counter[str]
) -> dict[str, Any]:
    name, read = part.source.name, part.read.counts()
    own: dict[str, Any] = part.cleaned.counts() if part.cleaned else {"removed": {}, "not_drawn": 0}
    removed: dict[str, Counter[str]] = {}
    for steps in (own["removed"], overall):
        for step, by_source in steps.items():
            removed.setdefault(step, Counter()).update(by_source.get(name, {}))
    dropped = Counter({(language, reason): count for source, language, reason, count in lost if source == name})
    reasons: Counter[str] = Counter()
    for (_, reason), count in dropped.items():
        reasons[reason] += count
    return {
        "licence": part.source.licence,
        "files": [file_lineage(path) for path in part.source.files()],
        "weight": part.source.weight,
        "rows_read": read["kept"] + read["rejected"],
        "rejected": read["rejected"],
        "rejected_because": read["reasons"],
        "removed": {step: dict(languages.most_common()) for step, languages in removed.items()},
        "not_drawn": own["not_drawn"],
        "dropped": dropped.total(),
        "dropped_because": dict(reasons.most_common()),
        "train": train[name],
        "held_out": held_out[name],
    }


def rejected_by_step(prepared: Prepared) -> dict[str, int]:
    """Rows left out: `read`, then every cleaning step in order, then `tokenise`."""
    steps: Counter[str] = Counter({READ: 0})
    for values in sources(prepared).values():
        steps[READ] += values["rejected"]
        for step, languages in values["removed"].items():
            steps[step] += sum(languages.values())
    steps[TOKENISE] = sum(row[-1] for row in prepared.tokenised.counts()["dropped"])
    return dict(steps)


def languages(prepared: Prepared) -> dict[str, dict[str, Any]]:
    """Per language: records, tokens, tokens per character of uncut records, the share cut, the share trained; most records first."""
    tokens = prepared.tokens
    codes, names = tokens.codes("language")
    characters, dropped = tokens.numbers("characters"), _dropped_by_language(prepared)
    found = {name or UNKNOWN: _language(tokens, codes == code, characters) for code, name in enumerate(names)}
    for name, count in dropped.items():
        found.setdefault(name, _language(tokens, np.zeros(len(tokens), bool), characters))["dropped"] = count
    return dict(sorted(found.items(), key=lambda item: (-item[1]["records"], item[0])))


def _language(tokens: TokenFile, mine: np.ndarray, characters: np.ndarray) -> dict[str, Any]:
    records, total = int(mine.sum()), int(tokens.lengths[mine].sum())
    whole = mine & ~tokens.cut
    text = int(characters[whole].sum())
    return {
        "records": records,
        "tokens": total,
        "trained_tokens": int(tokens.trained_counts[mine].sum()),
        "tokens_per_character": _share(int(tokens.lengths[whole].sum()), text, 3),
        "cut": int(tokens.cut[mine].sum()),
        "share_cut": _share(int(tokens.cut[mine].sum()), records),
        "share_trained": _share(int(tokens.trained_counts[mine].sum()), total),
        "dropped": 0,
    }


def _dropped_by_language(prepared: Prepared) -> Counter[str]:
    found: Counter[str] = Counter()
    for _, language, _, count in prepared.tokenised.counts()["dropped"]:
        found[language or UNKNOWN] += count
    return found


def by_source_and_language(prepared: Prepared) -> dict[str, dict[str, int]]:
    """Records that are trained on or held out: source -> language -> how many."""
    (sources_of, names), (languages_of, tongues) = prepared.tokens.codes("source"), prepared.tokens.codes("language")
    pairs = Counter(zip(sources_of.tolist(), languages_of.tolist(), strict=True)) if len(prepared.tokens) < 1000 else None
    if pairs is None:
        joint, numbers = np.unique(sources_of.astype(np.int64) * len(tongues) + languages_of, return_counts=True)
        pairs = Counter({divmod(int(pair), len(tongues)): int(n) for pair, n in zip(joint, numbers, strict=True)})
    found: dict[str, dict[str, int]] = {}
    for (source, language), count in pairs.most_common():
        found.setdefault(names[source], {})[tongues[language] or UNKNOWN] = count
    return found


def length_histogram(lengths: np.ndarray) -> list[tuple[int, int, int]]:
    """(from, up to and without, records) of token lengths in bins that grow by half a doubling, first to last used one."""
    if len(lengths) == 0:
        return []
    edges = [1]
    while edges[-1] <= int(lengths.max()):
        edges.append(max(edges[-1] + 1, round(2 ** (len(edges) / BINS_PER_DOUBLING))))
    counts, _ = np.histogram(lengths, bins=edges)
    used = np.flatnonzero(counts)
    return [(edges[i], edges[i + 1], int(counts[i])) for i in range(int(used[0]), int(used[-1]) + 1)]


def _share(part: int, whole: int, digits: int = 4) -> float | None:
    return round(part / whole, digits) if whole else None
