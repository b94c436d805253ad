"""C-Eval and MMLU: examination questions with four choices; what is compared is the letter of the answer.

C-Eval: <subject>_<split>.csv with the header id, question, A, B, C, D, answer[, explanation]; val is labelled, test is not. MMLU:
<subject>_<split>.csv without a header (hendrycks/test) or with question, A, B, C, D, answer, or qlora's json rows {subject, input,
output}. The files lie in the folder or in a folder named after the split.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks.benchmark import CountTokens
from kinnari.evaluation.benchmarks.choice_benchmark import ChoiceBenchmark
from kinnari.evaluation.benchmarks.exam_subjects import CEVAL_DOMAINS, CEVAL_NAMES, MMLU_DOMAINS
from kinnari.evaluation.benchmarks.prompt_form import PromptForm
from kinnari.evaluation.benchmarks.rows import Row, read_cells, read_rows
from kinnari.evaluation.benchmarks.shots import Shots, chosen, solved, within
from kinnari.evaluation.question import Candidate, Question

LETTERS = ("A", "B", "C", "D")
MMLU_COLUMNS = ("question", *LETTERS, "answer")


@dataclass(frozen=True, kw_only=True)
class Exam(ChoiceBenchmark):
    """Subjects, each with a file of its own, and shots of the same subject.

    Attributes:
        subjects: only these; None for all that have a file.
        draw_shots: shots drawn with the seed instead of the first ones of the file, which are the published ones; balanced ones
            always are.
    """

    subjects: Sequence[str] | None = None
    draw_shots: bool = False

    shot_split: str = "dev"

    @abstractmethod
    def intro(self, subject: str) -> str:
        """The line in front of a subject's questions, with what separates it."""

    @property
    def intro_always(self) -> bool:
        """Whether that line stands before a question without shots: not in system R, which publishes it with shots alone."""
        return self.chosen_prompt == "label_last"

    @property
    def evaluated_file(self) -> Path:
        """The folder of the evaluated files, or the one file."""
        return self.folder / self.file if self.file is not None else self._split_folder(self.split or self.usual_split)

    def read(self, file: Path, form: PromptForm) -> list[Question]:
        """All questions of all subjects."""
        if file.is_file():
            return [question for question in self.read_file(file, form) if self._wanted(str(question.subject))]
        split = self.split or self.usual_split
        files = {path.stem.removesuffix(f"_{split}"): path for path in sorted(file.glob(f"*_{split}.csv"))}
        missing = [subject for subject in self.subjects or () if subject not in files]
        if missing or not files:
            first = file / f"{missing[0] if missing else 'SUBJECT'}_{split}.csv"
            raise ConfigError(f"benchmark={self.name}: {first} does not exist. Put the files of the subjects there.")
        return [q for subject, path in files.items() if self._wanted(subject) for q in self._of_subject(path, subject, form)]

    def read_file(self, file: Path, form: PromptForm) -> list[Question]:
        """The questions of one file, whose name says the subject."""
        return self._of_subject(file, file.stem.rpartition("_")[0] or file.stem, form)

    def shots_by_subject(self, evaluated: Sequence[Question], count_tokens: CountTokens | None) -> dict[str | None, Shots]:
        """The first questions of the subject's file, or drawn ones; the last are left out until the rest fits."""
        found: dict[str | None, Shots] = {None: Shots((), "")}
        for subject in dict.fromkeys(str(question.subject) for question in evaluated):
            intro = self.intro(subject) if self.shots or self.intro_always else ""
            shots = Shots(self._examples(subject, evaluated), self.form.separator, intro)
            found[subject] = within(shots, self.shot_tokens, count_tokens, self.name)
        return found

    def submission(self, questions: Sequence[Question], predictions: Sequence[int]) -> dict[str, dict[str, str]]:
        """What C-Eval's site takes: {subject: {id: letter}}.

        Args:
            predictions: of each question the index of the candidate.
        """
        answers: dict[str, dict[str, str]] = {}
        for question, place in zip(questions, predictions, strict=True):
            letter = question.candidates[place].label
            answers.setdefault(str(question.subject), {})[question.id.partition("/")[2]] = letter
        return answers

    @abstractmethod
    def rows(self, file: Path) -> Iterator[Row]:
        """Rows with question, A, B, C, D and, where labelled, answer."""

    def _examples(self, subject: str, evaluated: Sequence[Question]) -> tuple[str, ...]:
        if not self.shots:
            return ()
        if self.train_file is not None:
            raise ConfigError(
                f"benchmark.{self.name}.train_file: shots of {self.name} are of the question's subject, out of the folder's files."
            )
        file = self._split_folder(self.shot_split) / f"{subject}_{self.shot_split}.csv"
        if not file.is_file():
            raise ConfigError(
                f"benchmark.shots={self.shots} of benchmark={self.name}: {file} does not exist. Put it there, or set benchmark.shots=0."
            )
        pool, own = self._of_subject(file, subject, self.form), [q for q in evaluated if q.subject == subject]
        draws = self.draw_shots or self.shots_balanced
        drawn = chosen(pool, self.shots if draws else len(pool), self.seed, self.shots_balanced, own)
        kept = drawn if draws else [question for question in pool if question in drawn][: self.shots]
        if len(kept) < self.shots:
            raise ConfigError(
                f"benchmark.shots={self.shots}: {file} has {len(kept)} labelled questions beside the evaluated ones. Ask for fewer."
            )
        return tuple(map(solved, kept))

    def _of_subject(self, file: Path, subject: str, form: PromptForm) -> list[Question]:
        return [self._question(row, subject, number, form) for number, row in enumerate(self.rows(file))]

    def _question(self, row: Row, subject: str, number: int, form: PromptForm) -> Question:
        fields = {column: row.text(column) for column in ("question", *LETTERS)}
        answer = row.key("answer")
        if answer is not None and answer.strip() not in LETTERS:
            raise row.wrong(f"answer {answer!r} is none of {', '.join(LETTERS)}")
        return Question(
            id=f"{subject}/{row.key('id') or number}",
            candidates=form.candidates(fields, LETTERS),
            gold=None if answer is None else LETTERS.index(answer.strip()),
            labels=LETTERS,
            subject=subject,
        )

    def _wanted(self, subject: str) -> bool:
        return self.subjects is None or subject in self.subjects

    def _split_folder(self, split: str) -> Path:
        inner = [self.folder / split, self.folder / "data" / split]
        return next((folder for folder in inner if folder.is_dir()), self.folder)


@dataclass(frozen=True, kw_only=True)
class CEval(Exam):
    """Examinations of 52 subjects in Chinese."""

    usual_split: str = "val"
    folders: ClassVar[tuple[str, ...]] = ("ceval-exam", "formal_ceval")

    def forms(self) -> dict[str, PromptForm]:
        """One wording; published has the line that names the subject with shots alone."""
        listing = "{question}\nA. {A}\nB. {B}\nC. {C}\nD. {D}\n答案：{label}"
        return {"label_last": PromptForm(listing), "published": PromptForm(listing)}

    def intro(self, subject: str) -> str:
        """Names the subject in Chinese."""
        return f"以下是中国关于{CEVAL_NAMES.get(subject, subject)}考试的单项选择题，请选出其中的正确答案。\n\n"

    def rows(self, file: Path) -> Iterator[Row]:
        """Rows of a csv file with a header."""
        yield from read_rows(file)

    @property
    def domains(self) -> Mapping[str, str]:
        """STEM, Social Science, Humanities, Other."""
        return CEVAL_DOMAINS


@dataclass(frozen=True, kw_only=True)
class MMLU(Exam):
    """Examinations of 57 subjects in English. label_last is the wording of hendrycks/test, published that of system R."""

    usual_split: str = "test"

    def forms(self) -> dict[str, PromptForm]:
        """Both wordings; the second has a full-width colon and no space before the letter."""
        listing = "{question}\nA. {A}\nB. {B}\nC. {C}\nD. {D}\n"
        return {"label_last": PromptForm(listing + "Answer: {label}"), "published": PromptForm(listing + "Answer：{label}")}

    def intro(self, subject: str) -> str:
        """Names the subject, in title case as published by system R, else in lower case."""
        plain = subject.replace("_", " ")
        named = plain.title().replace("Us ", "US ").replace(" And ", " and ") if self.chosen_prompt == "published" else plain
        return f"The following are multiple choice questions (with answers) about {named}.\n\n"

    @property
    def evaluated_file(self) -> Path:
        """The folder of csv files, or qlora's json file."""
        split = self.split or self.usual_split
        names = [f"{number}_shot_mmlu_{split}.json" for number in ("zero", "five")]
        found = next((self.folder / name for name in names if (self.folder / name).is_file()), None)
        return found if found is not None and self.file is None else super().evaluated_file

    def read_file(self, file: Path, form: PromptForm) -> list[Question]:
        """The questions of one csv file, or of qlora's rows, whose prompts are whole: no line and no shots are put before them."""
        if file.suffix not in (".json", ".jsonl"):
            return super().read_file(file, form)
        if self.shots:
            raise ConfigError(
                f"benchmark.shots={self.shots}: the prompts of {file} are whole, with shots or without. Set benchmark.shots=0."
            )
        return [_whole(row) for row in read_rows(file)]

    def shots_by_subject(self, evaluated: Sequence[Question], count_tokens: CountTokens | None) -> dict[str | None, Shots]:
        """As of any exam; nothing in front of prompts that are whole."""
        whole = self.evaluated_file.suffix in (".json", ".jsonl")
        return {None: Shots((), "")} if whole else super().shots_by_subject(evaluated, count_tokens)

    def rows(self, file: Path) -> Iterator[Row]:
        """Rows of a csv file; one whose first line is a question with its answer has no header."""
        cells = read_cells(file)
        if not cells or cells[0][-1].strip() not in LETTERS or "question" in cells[0]:
            yield from read_rows(file)
            return
        for number, row in enumerate(cells, 1):
            if len(row) != len(MMLU_COLUMNS):
                raise ConfigError(f"{file} row {number}: {len(row)} cells, where question, A, B, C, D and answer must be. Mend the row.")
            yield Row(dict(zip(MMLU_COLUMNS, row, strict=True)), f"{file} row {number}", number)

    @property
    def domains(self) -> Mapping[str, str]:
        """STEM, Humanities, Social Sciences, Other."""
        return MMLU_DOMAINS


def _whole(row: Row) -> Question:
    text, answer, subject = row.text("input"), row.text("output").strip(), row.text("subject")
    if answer not in LETTERS:
        raise row.wrong(f"output {answer!r} is none of {', '.join(LETTERS)}")
    before = text if text[-1:].isspace() else f"{text} "
    candidates = tuple(Candidate(before, letter) for letter in LETTERS)
    return Question(id=f"{subject}/{row.number}", candidates=candidates, gold=LETTERS.index(answer), labels=LETTERS, subject=subject)
