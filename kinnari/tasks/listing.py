"""What there is to choose: one line for every option of every group, read from the files themselves.

python launch.py task=list task.group=model task.match=thai
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from kinnari.errors import ConfigError
from kinnari.tasks.compose import conf_folder
from kinnari.tasks.config_errors import groups

FORMS = ("text", "json")
# What people look for first; every other group follows by its name.
FIRST = ("task", "experiment", "model", "data", "strategy", "strategy/tuning", "strategy/parallel", "hw", "benchmark")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is there


@dataclass(frozen=True)
class Choice:
    """One option of one group.

    Attributes:
        group, option: `model`, `xglm7b`: on the command line `model=xglm7b`.
        what: the first words of the file.
        command: the example it gives.
        facts: of a model its size and licence; of a data source its languages and licence.
    """

    group: str
    option: str
    what: str
    command: str
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """The choice as it is typed, then what it is: one line without line breaks."""
        facts = ", ".join(self.facts.values())
        return f"{self.group + '=' + self.option:<38} {f'[{facts}] ' if facts else ''}{self.what}"


def listing(cfg: DictConfig) -> dict[str, Any]:
    """`task=list`: print the choices, and return how many there are.

    Raises:
        ConfigError: an unknown group or form, or nothing matches.
    """
    wanted, form = cfg.task.group, cfg.task.form
    if form not in FORMS:
        raise ConfigError(f"task.form={form} is unknown. Choose one of {', '.join(FORMS)}.")
    names = [wanted] if isinstance(wanted, str) else wanted
    found = choices(names, cfg.task.match)
    if form == "json":
        print(json.dumps([asdict(choice) for choice in found], ensure_ascii=False, indent=1))
    else:
        print("\n".join(choice.line for choice in found))
    return {"choices": len(found)}


def choices(wanted: Sequence[str] | None = None, match: str | None = None) -> list[Choice]:
    """The options of some groups, or of all, whose line matches.

    Args:
        wanted: names of groups; None for all of them.
        match: a regular expression, whatever the case; None for all.

    Raises:
        ConfigError: an unknown group, a pattern that cannot be read, or nothing matches.
    """
    found = [read_choice(group, option) for group, options in _groups(wanted) for option in options]
    if match is not None:
        try:
            pattern = re.compile(str(match), re.IGNORECASE)
        except re.error as problem:
            raise ConfigError(f"task.match={match} is no regular expression: {problem}. Letters and digits stand for themselves.") from None
        found = [choice for choice in found if pattern.search(choice.line)]
    if not found:
        raise ConfigError(f"task.match={match} matches none of these. Try a shorter word, or leave it out.")
    return found


def _groups(wanted: Iterable[str] | None) -> list[tuple[str, list[str]]]:
    known = {name: options for name, options in groups().items() if name != "hydra/help"}
    order = [*FIRST, *(name for name in sorted(known) if name not in FIRST)]
    if wanted is None:
        return [(name, known[name]) for name in order if name in known]
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
            meant = f"Did you mean {near[0]}? " if near else ""
            raise ConfigError(f"task.group={name} is no group. {meant}The groups: {', '.join(order)}.")
    return [(name, known[name]) for name in order if name in set(wanted)]


def read_choice(group: str, option: str) -> Choice:
    """What the file of an option says of itself."""
    file = conf_folder() / group / f"{option}.yaml"
    what, command = header(file.read_text(encoding="utf-8"))
    facts = {"model": _model_facts, "data": _data_facts}.get(group)
    return Choice(group, option, what, command, facts(file) if facts else {})


def header(text: str) -> tuple[str, str]:
    """(what the file is, its first example) out of the comment that a file of conf/ begins with; the example without `python launch.py`."""
    comment = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            comment.append(line.removeprefix("#").strip())
    before, _, after = "\n".join(comment).partition("python launch.py")
    # Where the example stands further down, a blank comment line ends what the file is.
    what = re.sub(r"\s+", " ", before.split("\n\n")[0]).strip(" `")
    return what, after.partition("\n")[0].strip(" `")


def _model_facts(file: Path) -> dict[str, str]:
    content = _with_defaults(file)
    count = content.get("parameters")
    facts = {"parameters": _rounded(count) if count else "", "licence": str(content.get("licence", ""))}
    return {name: fact for name, fact in facts.items() if fact}


def _rounded(count: int) -> str:
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.0f} M"


def _data_facts(file: Path) -> dict[str, str]:
    facts: dict[str, dict[str, None]] = {"languages": {}, "licence": {}}
    for source in _with_defaults(file).values():
        for name, key in (("languages", "language"), ("licence", "licence")):
            if source.get(key):
                facts[name][source[key]] = None
    return {name: ", ".join(values) for name, values in facts.items() if values}


def _with_defaults(file: Path) -> dict[str, Any]:
    """A file's content over that of the files its defaults name, as far as they lie in its folder or below."""
    content = yaml.load(file.read_text(encoding="utf-8"), Loader=_LOADER) or {}
    merged: dict[str, Any] = {}
    for entry in content.pop("defaults", ()):
        parts = [entry] if isinstance(entry, str) else [str(part) for pair in entry.items() for part in pair]
        named = file.parent.joinpath(*parts[:-1], f"{parts[-1]}.yaml")
        merged |= _with_defaults(named) if named.is_file() else {}
    return merged | content
