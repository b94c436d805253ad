"""What system R (sunzeyeah/RLHF, src/data/data.py and src/eval_pretrain.py) compared, for `scoring=legacy` alone.

It made one flat list of texts, cut it into groups and compared the members of a group. The defects are kept on purpose, so that
its published table can be computed again by the rule that made it:

- IFLYTEK and TNEWS: the right label stands first, three others behind it; with ties the first wins.
- CLUEWSC2020: one text per item (the pronoun replaced, whether rightly or not), in groups of two: two consecutive ITEMS are compared.
- C3: a text per real choice, in groups of four: after a question with two or three choices the groups hold parts of two questions.
- What counts as right is the label of the LAST text of a group, at its index among that text's own options.
- Shots are drawn from the EVALUATED texts, wrong labels included, anew for every candidate.

Its own draws cannot be had again: they depended on the order in which a data loader's worker was asked.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from kinnari.evaluation.benchmarks.benchmark import CountTokens
from kinnari.evaluation.benchmarks.draws import rank, with_some_candidates
from kinnari.evaluation.question import Candidate, Question

SPARE = 2  # tokens that it left free of its limit


@dataclass(frozen=True)
class LegacySample:
    """One text of the flat list.

    Attributes:
        candidate: the text.
        label: what is right for its item.
        options: what `label` is looked up in; as many texts are a group.
    """

    candidate: Candidate
    label: str
    options: tuple[str, ...]


def samples_per_candidate(questions: Sequence[Question]) -> list[LegacySample]:
    """A text per candidate, in the file's order: OCNLI, CMNLI, CHID, AFQMC, CSL."""
    return [
        LegacySample(candidate, question.candidates[question.gold].label, tuple(other.label for other in question.candidates))
        for question in questions
        if question.gold is not None
        for candidate in question.candidates
    ]


def samples_true_first(questions: Sequence[Question], most: int, seed: int) -> list[LegacySample]:
    """The right label and `most` - 1 sampled ones, in this order: IFLYTEK, TNEWS."""
    samples = []
    for question in questions:
        assert question.gold is not None
        true = question.candidates[question.gold]
        others = [c for c in with_some_candidates(question, most, seed).candidates if c.label != true.label]
        random.Random(rank(seed, "legacy", question.id)).shuffle(others)
        options = (true.label, *(other.label for other in others))
        samples += [LegacySample(candidate, true.label, options) for candidate in (true, *others)]
    return samples


def samples_wsc(questions: Sequence[Question], replaced: int) -> list[LegacySample]:
    """The text with the pronoun replaced, one per item; true is '1', which stands first: CLUEWSC2020.

    Args:
        replaced: index of that candidate.
    """
    return [LegacySample(question.candidates[replaced], "1" if question.gold == replaced else "0", ("1", "0")) for question in questions]


def samples_c3(questions: Sequence[Question]) -> list[LegacySample]:
    """A text per real choice, options filled up to four by names that are never scored: C3."""
    samples = []
    for question in questions:
        assert question.gold is not None
        labels = [candidate.label for candidate in question.candidates]
        options = (*labels, *(f"test{place}" for place in range(len(labels), 4)))
        samples += [LegacySample(candidate, labels[question.gold], options) for candidate in question.candidates]
    return samples


def legacy_questions(
    samples: Sequence[LegacySample],
    shots: int = 0,
    seed: int = 42,
    count_tokens: CountTokens | None = None,
    max_tokens: int | None = None,
    limit: int | None = None,
) -> list[Question]:
    """The groups, as questions; an incomplete one at the end is left out, as it was.

    Args:
        limit: the first so many groups, since a draw would move texts from group to group.
    """
    questions: list[Question] = []
    group: list[Candidate] = []
    for place, sample in enumerate(samples):
        group.append(_with_shots(place, samples, shots, seed, count_tokens, max_tokens))
        if place % len(sample.options) != len(sample.options) - 1:
            continue
        if len(questions) == limit:
            break
        questions.append(Question(id=f"group-{len(questions)}", candidates=tuple(group), gold=sample.options.index(sample.label)))
        group = []
    return questions


def _with_shots(
    place: int, samples: Sequence[LegacySample], shots: int, seed: int, count_tokens: CountTokens | None, max_tokens: int | None
) -> Candidate:
    candidate = samples[place].candidate
    if not shots:
        return candidate
    drawn = random.Random(rank(seed, "legacy shots", str(place))).sample(list(samples), min(shots, len(samples)))
    texts: list[str] = []
    used = 0 if count_tokens is None else count_tokens(candidate.text)
    for shot in drawn:
        if count_tokens is not None and max_tokens is not None:
            length = count_tokens(shot.candidate.text + "\n")
            if used + length + SPARE > max_tokens:
                break
            used += length
        texts.append(shot.candidate.text)
    return Candidate("".join(text + "\n" for text in texts) + candidate.before, candidate.label, candidate.after)
