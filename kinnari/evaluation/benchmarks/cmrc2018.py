"""CMRC2018: the answer to a question about a text, generated, and compared with passages of the text.

Two layouts: SQuAD's {data: [{paragraphs: [{context, qas: [{id, question, answers: [{text}]}]}]}]}, and the contest's list of
{context_text, qas: [{query_id, query_text, answers: [texts]}]}. ymcui/cmrc2018 has both, CLUE the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks.benchmark import Benchmark, CountTokens
from kinnari.evaluation.benchmarks.draws import drawn, rank
from kinnari.evaluation.benchmarks.rows import Row, read_json
from kinnari.evaluation.benchmarks.shots import MARGIN, Shots, within


@dataclass(frozen=True, kw_only=True)
class ReadingQuestion:
    """A question whose answer is to be generated.

    Attributes:
        id: the file's own.
        context: the text that holds the answer.
        question: what is asked.
        answers: right ones, each once; empty where they are not public.
        header: shots in front of the prompt.
    """

    id: str
    context: str
    question: str
    answers: tuple[str, ...]
    header: str = ""

    @property
    def prompt(self) -> str:
        """What the model goes on from, the published string."""
        return f"{self.header}{self.question_text}"

    @property
    def question_text(self) -> str:
        """The prompt without shots."""
        return f"阅读文章：{self.context}\n问：{self.question}\n答："


@dataclass(frozen=True, kw_only=True)
class CMRC2018(Benchmark):
    """Chinese machine reading comprehension.

    Attributes:
        max_new_tokens: of an answer.
    """

    max_new_tokens: int = 100

    metric: ClassVar[str] = "exact_match"
    stop: ClassVar[str] = "\n"  # an answer is one line; system R took everything that was generated
    folders: ClassVar[tuple[str, ...]] = ("cmrc2018", "cmrc2018_public")

    def questions(self, count_tokens: CountTokens | None = None, max_tokens: int | None = None) -> list[ReadingQuestion]:
        """The drawn questions, each with the shots that leave room for it and its answer.

        Args:
            count_tokens: of a text, by the model's tokenizer; needed where shots are limited.
            max_tokens: what the model takes, prompt and answer together.

        Raises:
            ConfigError: a file is missing or not in the public layout, or the settings cannot be met.
        """
        file = self.evaluated_file
        everything = read_questions(file)
        if not everything:
            raise ConfigError(f"benchmark={self.name}: {file} holds no question.")
        kept = drawn(everything, self.limit, self.seed, _content)
        shots = self._shots(everything, count_tokens)
        return [replace(question, header=self._header(question, shots, count_tokens, max_tokens)) for question in kept]

    def majority(self, questions: Sequence[ReadingQuestion]) -> float:
        """Share of questions that the most frequent answer answers."""
        labelled = [set(question.answers) for question in questions if question.answers]
        texts = {text for answers in labelled for text in answers}
        return max((sum(text in answers for answers in labelled) for text in texts), default=0) / max(1, len(labelled))

    def _shots(self, evaluated: Sequence[ReadingQuestion], count_tokens: CountTokens | None) -> Shots:
        if not self.shots:
            return Shots((), "\n")
        if self.shots_balanced:
            raise ConfigError(f"benchmark.shots_balanced=true: {self.name} has no classes to balance.")
        known = {_content(question) for question in evaluated}
        file = self.shot_file
        pool = [question for question in read_questions(file) if question.answers and _content(question) not in known]
        examples = sorted(pool, key=lambda question: (rank(self.seed, "shots", *_content(question)), _content(question)))[: self.shots]
        if len(examples) < self.shots:
            raise ConfigError(f"benchmark.shots={self.shots}: {file} has {len(examples)} answered questions beside the evaluated ones.")
        texts = tuple(example.question_text + example.answers[0] for example in examples)
        return within(Shots(texts, "\n"), self.shot_tokens, count_tokens, self.name)

    def _header(self, question: ReadingQuestion, shots: Shots, count_tokens: CountTokens | None, max_tokens: int | None) -> str:
        number = len(shots.texts)
        if count_tokens is not None and max_tokens is not None and number:
            room = max_tokens - self.max_new_tokens - MARGIN - count_tokens(question.question_text)
            while number and count_tokens(shots.header(number)) > room:
                number -= 1
        return shots.header(number)


def read_questions(file: Path) -> list[ReadingQuestion]:
    """All questions of a file of either layout, in its order.

    Raises:
        ConfigError: it has neither; names the place.
    """
    content = read_json(file)
    if isinstance(content, list):
        return list(_contest(content, file))
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        return list(_squad(content["data"], file))
    raise ConfigError(f"{file} must hold an object with a list `data`, as SQuAD, or the contest's list of {{context_text, qas}}.")


def _content(question: ReadingQuestion) -> tuple[str, str]:
    return question.context, question.question


def _squad(data: Sequence[Any], file: Path) -> Iterator[ReadingQuestion]:
    for number, document in enumerate(data, 1):
        place = f"{file} document {number}"
        for paragraph in _objects(_object(document, place), "paragraphs"):
            context = paragraph.text("context")
            for asked in _objects(paragraph, "qas"):
                yield _question(asked, context, ("id", "question"))


def _contest(data: Sequence[Any], file: Path) -> Iterator[ReadingQuestion]:
    for number, document in enumerate(data, 1):
        row = _object(document, f"{file} document {number}")
        for asked in _objects(row, "qas"):
            yield _question(asked, row.text("context_text"), ("query_id", "query_text"))


def _question(row: Row, context: str, columns: tuple[str, str]) -> ReadingQuestion:
    answers = row.value.get("answers") or []
    if not isinstance(answers, list):
        raise row.wrong("answers must be a list of texts, or of {text}")
    texts = [answer.get("text") if isinstance(answer, Mapping) else answer for answer in answers]
    if not all(isinstance(text, str) for text in texts):
        raise row.wrong("answers must be a list of texts, or of {text}")
    return ReadingQuestion(
        id=row.text(columns[0]), context=context, question=row.text(columns[1]), answers=tuple(dict.fromkeys(map(str, texts)))
    )


def _objects(row: Row, column: str) -> Iterator[Row]:
    values = row.get(column)
    if not isinstance(values, list):
        raise row.wrong(f"column {column!r} must hold a list of objects")
    for number, value in enumerate(values, 1):
        yield _object(value, f"{row.place}, {column} {number}")


def _object(value: Any, place: str) -> Row:
    if not isinstance(value, dict):
        raise ConfigError(f"{place} must be a json object. Give a file in the benchmark's published layout.")
    return Row(value, place, 0)
