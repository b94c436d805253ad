"""What an answer is worth: a rule, a function of yours, a reward model, or a language model that is asked.

Every reward is one function over the answers of this rank: rollouts -> one number each, higher is better.
"""

from __future__ import annotations

import csv
import inspect
import logging
import re
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from kinnari.completion.completer import Completer, CompletionSettings
from kinnari.errors import ConfigError, RunStopped
from kinnari.rollouts.rollout import Rollout

log = logging.getLogger(__name__)

Reward = Callable[[Sequence[Rollout]], list[float]]

LARGEST_SCORE = 1e18
"""Beyond, squares of rewards, as losses of the critic have them, are infinite in float32."""

_SCRIPTS = {
    "th": r"[\u0e00-\u0e7f]", "ko": r"[\uac00-\ud7af\u1100-\u11ff]", "ja": r"[\u3040-\u30ff\u4e00-\u9fff]", "zh": r"[\u4e00-\u9fff]",
    "en": r"[A-Za-z]",
}  # fmt: skip


def script_share(language: str) -> Reward:
    """Share of an answer's letters that are of a language's script: 1 for all, 0 for none or no letter.

    Args:
        language: th, ko, ja, zh or en.
    """
    if language not in _SCRIPTS:
        raise ConfigError(f"ppo.rule.language={language} is unknown; choose one of {', '.join(_SCRIPTS)}.")
    script = re.compile(_SCRIPTS[language])

    def reward(rollouts: Sequence[Rollout]) -> list[float]:
        return [_share(script, r.text) for r in rollouts]

    return reward


def _share(script: re.Pattern[str], text: str) -> float:
    letters = [c for c in text if c.isalpha() or script.match(c)]
    return sum(bool(script.match(c)) for c in letters) / len(letters) if letters else 0.0


def near_length(characters: int) -> Reward:
    """1 for an answer of so many characters, falling in a straight line to 0 for an empty one or one twice as long."""
    if characters < 1:
        raise ConfigError(f"ppo.rule.characters={characters} must be 1 or more.")
    return lambda rollouts: [max(0.0, 1.0 - abs(len(r.text) - characters) / characters) for r in rollouts]


def matching(pattern: str) -> Reward:
    """1 for an answer in which a regular expression is found, else 0."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"ppo.rule.pattern={pattern!r} is no regular expression: {error}.") from error
    return lambda rollouts: [float(bool(expression.search(r.text))) for r in rollouts]


def answer_overlap() -> Reward:
    """ROUGE-L with the data's own answer, 0 to 1."""
    from kinnari.generation.rouge import rouge

    return lambda rollouts: rouge([r.text for r in rollouts], [r.prompt.reference for r in rollouts])["rougeL"]


def python_callable(path: str) -> Reward:
    """A function of yours, `package.module:function`, called with prompts (the last question of each), answers and references.

    It returns one number for each answer, as a list, an array or a tensor. What it raises ends the run with its own words.

    Raises:
        ConfigError: it cannot be imported, or cannot be called with three arguments.
    """
    module, _, name = path.partition(":")
    try:
        function = getattr(import_module(module), name)
    except Exception as error:  # a module may raise anything while it is imported
        raise ConfigError(
            f"ppo.callable={path} cannot be imported ({type(error).__name__}: {error}). Write package.module:function, where the module "
            "is importable from here (its folder in PYTHONPATH)."
        ) from error
    try:
        inspect.signature(function).bind([], [], [])
    except TypeError as error:
        raise ConfigError(
            f"ppo.callable={path} cannot be called: {error}. It is given three lists of texts: questions, answers, references."
        ) from error
    except ValueError:  # a builtin, whose signature Python does not know
        pass

    def reward(rollouts: Sequence[Rollout]) -> list[float]:
        questions = [r.prompt.messages[-1].content if r.prompt.messages else "" for r in rollouts]
        try:
            given = function(questions, [r.text for r in rollouts], [r.prompt.reference for r in rollouts])
        except Exception as error:
            raise RunStopped(
                f"The reward {path} raised {type(error).__name__}: {error}. The run stops; the latest checkpoint is kept."
            ) from error
        return numbers_of(given, path, len(rollouts))

    return reward


def numbers_of(given: Any, name: str, count: int) -> list[float]:
    """What a function of yours returned, as `count` floats.

    Raises:
        RunStopped: it is something else; NaN and infinities are for `checked` to find.
    """
    rule = f"it must return one number for each of the {count} answers, as a list, an array or a tensor"
    try:
        values = [_number(value) for value in given]
    except (TypeError, ValueError, RuntimeError) as error:
        raise RunStopped(f"The reward {name} returned {_shortened(given)} ({error}); {rule}.") from error
    if len(values) != count:
        raise RunStopped(f"The reward {name} gave {len(values)} numbers for {count} answers; {rule}.")
    return values


def _number(value: Any) -> float:
    if isinstance(value, str | bytes):  # float() reads texts too, "nan" among them
        raise TypeError(f"a text: {_shortened(value)}")
    return float(value)


def _shortened(value: Any) -> str:
    text = " ".join(repr(value).split())
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"


ASKED = (
    "You judge answers. Read the question and the answer, and rate how helpful, relevant, accurate and detailed the answer is. Reply "
    "with one number between 0 and 1 and nothing else.\n\nQuestion:\n{prompt}\n\nAnswer:\n{answer}\n\nScore:"
)


class AskedModel:
    """A language model behind a `Completer` gives the score, as WangChanGLM asked ChatGPT.

    Args:
        completer: who is asked.
        record: csv file that gets a line for every answer: prompt, answer, reply, score; None for none.
        instruction: holds {prompt} and {answer}.
        unparsable: score of an answer to which no number came back; they are counted.
    """

    def __init__(self, completer: Completer, record: Path | None = None, instruction: str = ASKED, unparsable: float = 0.0) -> None:
        self.completer, self.record, self.instruction, self.unparsable = completer, record, instruction, unparsable
        self.settings = CompletionSettings(max_tokens=16, temperature=0.0)
        self.asked = self.not_parsed = 0

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        requests = [self._request(_question(r), r.text) for r in rollouts]
        replies = self.completer.complete(requests, self.settings)
        failed = [reply.error for reply in replies if reply.finish_reason == "failed"]
        if replies and len(failed) == len(replies):
            raise RunStopped(
                f"{self.completer.name} answered none of {len(replies)} requests for a score; the last: {failed[-1]}. The run stops, as "
                "rewards of 0 teach nothing; once it answers, output_dir=RUN checkpoint.resume=auto goes on."
            )
        scores = [first_number(reply.text) for reply in replies]
        missing = sum(score is None for score in scores)
        self.asked, self.not_parsed = self.asked + len(scores), self.not_parsed + missing
        if missing:
            log.warning("%d of %d replies of %s hold no number and count as %g", missing, len(scores), self.completer.name, self.unparsable)
        values = [self.unparsable if score is None else score for score in scores]
        if self.record is not None:
            with open(self.record, "a", encoding="utf-8", newline="", errors="backslashreplace") as out:
                rows = zip(rollouts, replies, values, strict=True)
                csv.writer(out).writerows((_question(r), r.text, reply.text or reply.error, value) for r, reply, value in rows)
        return values

    def probe(self) -> None:
        """Ask one question before anything slow.

        Raises:
            ConfigError: no reply came.
        """
        log.info("asking %s for a first score", self.completer.name)
        (reply,) = self.completer.complete([self._request("1 + 1?", "2")], self.settings)
        if reply.finish_reason == "failed":
            raise ConfigError(
                f"ppo.reward=llm: {self.completer.name} gave no answer to a first question ({reply.error}). Start the endpoint, or "
                "correct ppo.llm.url, ppo.llm.model or the key."
            )
        if first_number(reply.text) is None:
            log.warning("%s replied %r to a first question, in which there is no number", self.completer.name, reply.text[:80])

    def counts(self) -> dict[str, int]:
        """Answers it was asked about on this rank, and those to which no number came back."""
        return {"asked": self.asked, "not_parsed": self.not_parsed}

    def _request(self, question: str, answer: str) -> str:
        # not str.format: a question may hold braces
        parts = {"{prompt}": question, "{answer}": answer}
        return re.sub(r"\{prompt\}|\{answer\}", lambda match: parts[match[0]], self.instruction)


def first_number(text: str) -> float | None:
    """The first number of a reply; a comma may stand for the point. None if there is none."""
    found = re.search(r"-?(?:\d+(?:[.,]\d+)?|\.\d+)(?:[eE][-+]?\d+)?", text)
    number = None if found is None else float(found[0].replace(",", "."))
    return None if number is None or abs(number) > LARGEST_SCORE else number


def _question(rollout: Rollout) -> str:
    return "\n".join(m.content for m in rollout.prompt.messages)


def checked(reward: Reward, rollouts: Sequence[Rollout]) -> list[float]:
    """The scores, all of them numbers.

    Raises:
        RunStopped: a score is NaN, infinite or beyond float32; the message shows the answer.
    """
    scores = reward(rollouts)
    for rollout, score in zip(rollouts, scores, strict=True):
        if not abs(score) <= LARGEST_SCORE:
            raise RunStopped(
                f"The reward of an answer to {rollout.prompt.record_id} is {score}, which nothing can be learnt from: "
                f"{rollout.text[:200]!r}. Give every answer a finite number."
            )
    return scores
