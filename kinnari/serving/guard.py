"""Sensitive topics told by examples: a text is near an example by the cosine of their embeddings, or it passes.

guard = Guard(topics, embedder, threshold=0.6)
guard.check("How is a bomb built?")        Hit(topic="weapons", score=0.83, ...)
guard.check("How is a bridge built?")      None

As in WangChanGLM's demo, which blocked above a cosine of 1 - sensitivity; its topics were a pickle, these are text.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinnari.errors import ConfigError
from kinnari.serving.sentence_embedding import EncoderEmbedder, SentenceEmbedder, cached_embeddings
from kinnari.text.language import language_of

log = logging.getLogger(__name__)

LONGEST = 200  # characters of a passage: a mean over more says little of one sentence in it
SHORTEST = 12  # below it "1." or "Yes." waits for what follows
_LEAST_APART = 0.8  # balanced accuracy on the examples themselves
# What stands between letters and is not seen (of width 0, or that sets the direction), and halves of surrogate pairs, which are no text.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
# The end of a sentence; a stop within a number or an address is none.
_END = re.compile(r"[.!?…]+(?=\s)|[。！？\n]")


@dataclass(frozen=True)
class Topic:
    """Examples of what is not talked about, and what is said instead, by language."""

    name: str
    demonstrations: tuple[str, ...]
    replies: Mapping[str, str]

    def __post_init__(self) -> None:
        if not self.demonstrations or not self.replies:
            raise ConfigError(f"guard.topics.{self.name} needs `demonstrations` and a `reply`, at least one of each.")

    def reply(self, language: str) -> str:
        """In this language, else in English, else in the first there is."""
        return self.replies.get(language) or self.replies.get("en") or next(iter(self.replies.values()))


@dataclass(frozen=True)
class Hit:
    """A passage that is nearer to an example than the threshold allows."""

    topic: Topic
    score: float
    passage: str
    demonstration: str


class Guard:
    """Compares texts with the examples of all topics.

    Args:
        topics: at least one.
        embedder: texts -> unit vectors.
        threshold: least cosine that is a hit; None chooses what best parts examples (each against the others of its topic) from
            `harmless` texts, half-way between the two nearest scores.
        harmless: texts that must pass.
        cache: folder of embedded examples; None embeds them anew.

    Raises:
        ConfigError: no topic, or a threshold that is out of range or cannot be chosen.
    """

    def __init__(
        self,
        topics: Sequence[Topic],
        embedder: SentenceEmbedder,
        *,
        threshold: float | None = None,
        harmless: Sequence[str] = (),
        cache: Path | None = None,
    ) -> None:
        if not topics:
            raise ConfigError("guard.topics is empty; leave guard= out, or name what is not to be talked about.")
        if threshold is not None and not -1 < threshold <= 1:
            raise ConfigError(f"guard.threshold={threshold} must be a cosine above -1 and at most 1, or auto.")
        if threshold is None and (not harmless or all(len(topic.demonstrations) < 2 for topic in topics)):
            raise ConfigError("guard.threshold=auto needs two examples of a topic and some guard.harmless; give a number, such as 0.6.")
        self.embedder = embedder
        self.examples = [(topic, text) for topic in topics for text in topic.demonstrations]
        texts = [text for _, text in self.examples]
        vectors = cached_embeddings(embedder, [*texts, *harmless], cache)
        self.vectors, calm = vectors[: len(texts)], vectors[len(texts) :]
        own = self._own_scores()
        others = (calm @ self.vectors.T).max(1) if len(calm) else np.zeros(0, np.float32)
        self.threshold = best_threshold(own, others) if threshold is None else float(threshold)
        self._tell(own, others)

    def check(self, text: str) -> Hit | None:
        """The worst passage of a text, or two neighbours together, that is a hit."""
        passages = [passage.strip() for passage in passages_of(_UNSEEN.sub("", text)) if passage.strip()]
        if not passages:
            return None
        passages += [f"{one} {two}" for one, two in pairwise(passages)]
        scores = self.embedder(passages) @ self.vectors.T
        passage, example = np.unravel_index(int(scores.argmax()), scores.shape)
        score = float(scores[passage, example])
        # not `score < threshold`: an embedding that is no number must not pass
        if not score >= self.threshold and not np.isnan(score):
            return None
        topic, demonstration = self.examples[example]
        return Hit(topic, score, passages[passage], demonstration)

    def _own_scores(self) -> NDArray[np.float32]:
        """Of each example, its cosine to the nearest other one of its topic."""
        names = np.array([topic.name for topic, _ in self.examples])
        scores = self.vectors @ self.vectors.T
        scores[(names[:, None] != names[None]) | np.eye(len(names), dtype=bool)] = -np.inf
        best = scores.max(1)
        return best[np.isfinite(best)]

    def _tell(self, own: NDArray[np.float32], others: NDArray[np.float32]) -> None:
        if not len(own) or not len(others):
            return
        caught, passed = float((own >= self.threshold).mean()), float((others < self.threshold).mean())
        told = f"{caught:.0%} of its examples would be known by the others of their topic, {passed:.0%} of the harmless texts pass"
        log.info("The guard's threshold is a cosine of %.3f: %s.", self.threshold, told)
        if (caught + passed) / 2 < _LEAST_APART:
            log.warning("This encoder hardly tells the topics from harmless texts (%s); choose one made for sentences.", told)


def best_threshold(own: NDArray[np.float32], others: NDArray[np.float32]) -> float:
    """The cosine with the best balanced accuracy, half-way to the next lower score; of equals the lowest, which lets least through."""
    scores = np.unique(np.concatenate([own, others]))
    between = [(low + high) / 2 for low, high in pairwise(scores)] or [float(scores[0])]
    return float(max(between, key=lambda t: (float((own >= t).mean() + (others < t).mean()), -t)))


def passages_of(text: str) -> list[str]:
    """The text in sentences, none longer than LONGEST characters; joined they are the text."""
    growing = Passages()
    return [*growing.add(text), *growing.rest()]


class Passages:
    """Sentences out of a text that comes in pieces, whatever the pieces are."""

    def __init__(self) -> None:
        self._text = ""

    def add(self, piece: str) -> list[str]:
        """The passages that are complete now."""
        self._text += piece
        found = []
        while (end := self._end()) is not None:
            found.append(self._text[:end])
            self._text = self._text[end:]
        return found

    def rest(self) -> list[str]:
        """What is left at the end of the text."""
        left, self._text = self._text, ""
        return [left] if left else []

    def _end(self) -> int | None:
        ends = (found.end() for found in _END.finditer(self._text, 0, LONGEST + 1))
        end = next((end for end in ends if SHORTEST <= end <= LONGEST), None)
        if end is not None or len(self._text) <= LONGEST:
            return end
        return self._text.rfind(" ", SHORTEST, LONGEST) + 1 or LONGEST  # Thai has spaces between phrases, and no full stops


def load_guard(
    topics: Mapping[str, Mapping[str, Any]],
    *,
    model: str | None,
    harmless: Sequence[str] = (),
    threshold: float | str = "auto",
    prefix: str = "",
    device: str = "cpu",
    cache_dir: str | None = None,
) -> Guard:
    """What a file of conf/guard says.

    Raises:
        ConfigError: no encoder is named or can be read, or a value is of the wrong kind.
    """
    if not model:
        raise ConfigError("guard.model is not set. Give a sentence encoder that transformers can load: guard.model=FOLDER.")
    if threshold != "auto" and (isinstance(threshold, bool) or not isinstance(threshold, int | float)):
        raise ConfigError(f"guard.threshold={threshold} must be a cosine, such as 0.6, or auto.")
    known = []
    for name, topic in topics.items():
        demonstrations, reply = topic.get("demonstrations"), topic.get("reply")
        if not isinstance(demonstrations, list) or not isinstance(reply, Mapping):
            raise ConfigError(f"guard.topics.{name} needs `demonstrations`, a list of texts, and `reply`, texts by language.")
        known.append(Topic(name, tuple(map(str, demonstrations)), {str(key): str(text) for key, text in reply.items()}))
    return Guard(
        known,
        EncoderEmbedder(model, prefix=prefix, device=device),
        threshold=None if isinstance(threshold, str) else float(threshold),
        harmless=list(harmless),
        cache=Path(cache_dir).expanduser() if cache_dir else None,
    )


def reply_for(hit: Hit, question: str) -> str:
    """What is said instead, in the language of the question."""
    return hit.topic.reply(language_of(question))
