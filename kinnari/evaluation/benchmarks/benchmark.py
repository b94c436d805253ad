"""What every benchmark has: files in a folder, a split, a draw, shots."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from kinnari.errors import ConfigError

CountTokens = Callable[[str], int]


@dataclass(frozen=True, kw_only=True)
class Benchmark(ABC):
    """A benchmark in its public layout.

    Attributes:
        name: the option's name, the first part of its results' names.
        data_dir: folder that holds the folder NAME (or NAME_public, as CLUE's archives are called), or the files themselves.
        file: the file to evaluate instead of the one `split` finds; relative to the folder, without one to where the run started.
        train_file: the file that shots are drawn from instead of the training split's.
        split: dev | test | ... as in the file names; None is the benchmark's usual one.
        limit: at most so many questions, drawn with the seed; None for all.
        seed: of the draw, the order of candidates, sampled candidates and shots.
        shots: solved examples in front of each question.
        shot_tokens: most tokens of all shots of a question together; None for no limit.
        shots_balanced: as many shots of each class as the number allows, where the benchmark has classes.
        usual_split: the split evaluated where `split` is None: one with public answers.
        shot_split: the split that shots come from.
    """

    name: str
    data_dir: str | None = None
    file: str | None = None
    train_file: str | None = None
    split: str | None = None
    limit: int | None = None
    seed: int = 42
    shots: int = 0
    shot_tokens: int | None = None
    shots_balanced: bool = False
    usual_split: str = "dev"
    shot_split: str = "train"

    metric: ClassVar[str]
    folders: ClassVar[tuple[str, ...]] = ()  # names that the public archive's folder has beside NAME and NAME_public

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"benchmark.limit={self.limit}: at least one question must remain; leave it null for all.")
        if self.shots < 0:
            raise ConfigError(f"benchmark.shots={self.shots} must be 0 or more.")

    @property
    def folder(self) -> Path:
        """Where the files are.

        Raises:
            ConfigError: no folder was given, or there is none.
        """
        if self.data_dir is None and self.file is not None:
            return Path()
        if self.data_dir is None:
            raise ConfigError(f"benchmark={self.name} needs its files: benchmark.data_dir=DIR, where DIR/{self.name} or DIR holds them.")
        root = Path(self.data_dir).expanduser()
        if not root.is_dir():
            raise ConfigError(
                f"benchmark.data_dir={self.data_dir} is no folder; it must hold {self.name}'s files, or a folder {self.name}."
            )
        names = (self.name, f"{self.name}_public", *self.folders)
        return next((root / name for name in names if (root / name).is_dir()), root)

    def file_names(self, split: str) -> tuple[str, ...]:
        """Names that the file of a split has in the public layouts, the likeliest first: CLUE's, FewCLUE's labelled test, FewCLUE's."""
        stems = [f"{split}_public", split, f"{split}_few_all"]
        stems += [f"{name}_{stem}" for name in (self.name, *self.folders) for stem in stems]
        return tuple(stem + ending for stem in stems for ending in (".json", ".jsonl"))

    @property
    def evaluated_file(self) -> Path:
        """The file the questions come from.

        Raises:
            ConfigError: there is none.
        """
        return self._found(self.file, self.split or self.usual_split, "file", "evaluated")

    @property
    def shot_file(self) -> Path:
        """The file the shots come from, never the evaluated one.

        Raises:
            ConfigError: there is none, or it is the evaluated one.
        """
        found = self._found(self.train_file, self.shot_split, "train_file", "shots")
        if found.resolve() == self.evaluated_file.resolve():
            raise ConfigError(
                f"benchmark={self.name}: shots would come from the evaluated file {found}, and show the model its questions with their "
                f"answers. Give another benchmark.{self.name}.train_file, or benchmark.shots=0."
            )
        return found

    def _found(self, given: str | None, split: str, option: str, use: str) -> Path:
        names = (given,) if given is not None else self.file_names(split)
        folder = self.folder
        for name in names:
            if (folder / name).is_file():
                return folder / name
        names = tuple(sorted(names, key=lambda name: Path(name).stem != split))  # CLUE's own name first
        why = (
            f"{use} questions of benchmark={self.name}" if use == "evaluated" else f"benchmark.shots={self.shots} of benchmark={self.name}"
        )
        raise ConfigError(
            f"{why}: {folder / names[0]} does not exist"
            + (f", nor {', '.join(names[1:6])}" if len(names) > 1 else "")
            + f". Put the file there, or name one with benchmark.{self.name}.{option}=FILE."
        )

    @property
    def domains(self) -> Mapping[str, str]:
        """Subject -> domain, for scores per domain; empty where there is one score."""
        return {}
