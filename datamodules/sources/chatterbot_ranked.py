"""Dialogues of the ChatterBot corpus with worse answers drawn beside the true one, so that a reward model can be tried from
registry packages alone:

    What is AI?        1  Artificial Intelligence is the branch of engineering ...      the answer in the corpus
                       0  Python.                                                       two answers of the same subject (ai)
                      -1  I like to eat olives.                                         two of other subjects, in the same language

Scores as sunzeyeah/RLHF gives its couplets. No answer that the corpus has to the same question anywhere is drawn as a worse one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from datamodules.sources.chatterbot import ChatterBot
from datamodules.sources.ranked import RankedSource, draws
from datamodules.sources.text_pool import TextPool
from kinnari.text.conversation import Conversation, Message, Reject, normalise_question
from kinnari.text.ranked import RankedAnswers, ScoredAnswer

DRAWN = 2  # worse answers of each kind


@dataclass(frozen=True, kw_only=True)
class ChatterBotRanked(ChatterBot, RankedSource):
    """The corpus in the languages asked for, ranked.

    Args:
        seed: of the worse answers; what is drawn for a dialogue does not depend on its place.
    """

    seed: int = 42
    name: str = "chatterbot_ranked"

    def read_ranked(self) -> Iterator[RankedAnswers | Reject]:
        """Every dialogue with its last answer ranked above others; a dialogue that stands twice is read once."""
        dialogues = [item for item in ChatterBot.read(self) if isinstance(item, Conversation)]
        yield from (item for item in ChatterBot.read(self) if isinstance(item, Reject))
        pools = {
            language: TextPool((_subject(c), c.reference()) for c in dialogues if c.language == language)
            for language in {c.language for c in dialogues}
        }
        true: dict[str, set[str]] = defaultdict(set)
        for conversation in dialogues:
            true[_asked(conversation.prompt())].add(conversation.reference())
        seen: set[tuple[str, str]] = set()
        for conversation in dialogues:
            known = (_asked(conversation.prompt()), conversation.reference())
            if known not in seen:
                seen.add(known)
                yield self._ranked(conversation, pools[conversation.language], true[known[0]])

    def read(self) -> Iterator[Conversation | Reject]:
        """Each prompt with its true answer."""
        return RankedSource.read(self)

    def _ranked(self, conversation: Conversation, pool: TextPool, true: set[str]) -> RankedAnswers:
        prompt, answer = tuple(conversation.prompt()), conversation.reference()
        generator = draws(self.seed, _asked(prompt), answer)
        worse = [(text, 0.0) for text in pool.draw(DRAWN, generator, within=_subject(conversation), but=true)]
        drawn = {text for text, _ in worse}
        worse += [(text, -1.0) for text in pool.draw(DRAWN, generator, outside=_subject(conversation), but=true | drawn)]
        answers = (ScoredAnswer(answer, 1.0), *(ScoredAnswer(text, score) for text, score in worse))
        key = conversation.record_id.removeprefix(f"{self.name}:")
        return self.ranked((prompt, answers), key, conversation.language)


def _subject(conversation: Conversation) -> tuple[str, ...]:
    """The corpus file it is of: "chatterbot_ranked:english/ai:0" -> ("english/ai",)."""
    return (conversation.record_id.split(":")[1],)


def _asked(prompt: Iterator[Message] | tuple[Message, ...] | list[Message]) -> str:
    return normalise_question("\n".join(message.content for message in prompt))
