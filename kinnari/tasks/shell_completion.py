"""Words that may stand next on the command line, for the Tab key.

eval "$(python launch.py -sc install=bash)"

Hydra 1.3.8 brings completion too. Three things are done otherwise here: it loads the whole configuration twice for each group, which
takes 1.6 s for an empty word; its bash function runs `.venv/bin/python -sc query=bash` where Python is not called `python`; and a list
such as `data=[alpaca,` or a word before it that is not finished leaves it without an answer. Scripts for zsh and fish are Hydra's.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kinnari.errors import ConfigError
from kinnari.tasks.compose import compose
from kinnari.tasks.config_errors import SEVERAL, groups

FLAGS = ("--cfg", "--help", "--hydra-help", "--info", "--multirun", "--package", "--resolve", "--version")
FLAG_VALUES = {"--cfg": ("all", "hydra", "job"), "-c": ("all", "hydra", "job"),
               "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"), "--package": (), "-p": ()}  # fmt: skip
BASH = r"""
_kinnari_complete() {
    local line=${COMP_LINE:0:COMP_POINT} program=${COMP_WORDS[0]} script word
    word=${line##* }
    case ${program##*/} in
        python*) script=${COMP_WORDS[1]} ;;
        *) script=$program; program= ;;
    esac
    # For every application of Hydra, and no other: `python` belongs to more programs than this one.
    [[ -f $script ]] && grep -qs '@hydra.main' "$script" || return
    mapfile -t COMPREPLY < <(COMP_LINE=$line ${program:+"$program"} "$script" -sc query=bash 2>/dev/null | tr ' ' '\n')
    mapfile -t COMPREPLY < <(compgen -W "${COMPREPLY[*]//$/\\$}" -- "$word")
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -o nospace -o default -F _kinnari_complete python python3 launch.py
""".strip()


def answer(request: str, line: str) -> str | None:
    """What `-sc REQUEST` prints; None for what Hydra answers.

    Args:
        request: `install=bash` or `query=SHELL`.
        line: the command line up to the cursor.
    """
    if request == "install=bash":
        return BASH
    action, _, shell = request.partition("=")
    if action == "query":
        return ("\n" if shell == "fish" else " ").join(suggestions(line))
    return None


def suggestions(line: str) -> list[str]:
    """Whole words that the last word of a command line may become, sorted.

    Args:
        line: `python launch.py model=xg`; a space at its end begins a new word.
    """
    words = _arguments(line)
    before, word = words[:-1], words[-1]
    if before and before[-1] in FLAG_VALUES:
        return [value for value in FLAG_VALUES[before[-1]] if value.startswith(word)]
    if word.startswith("-"):
        return [flag for flag in FLAGS if flag.startswith(word)]
    sign = word[0] if word[:1] in ("+", "~") else ""
    key, equals, value = word.removeprefix(sign).partition("=")
    if not equals:
        return sorted(sign + name for name in _names(key, before))
    if key in groups():
        return sorted(f"{sign}{key}={option}" for option in _options(key, value, multirun=bool({"-m", "--multirun"} & set(before))))
    return sorted(f"{sign}{key}={text}" for text in _values(key, value, before))


def _arguments(line: str) -> list[str]:
    """The words behind `python launch.py`, the last of them unfinished."""
    try:
        words = shlex.split(line)
    except ValueError:  # an open quotation mark
        words = line.replace("'", "").replace('"', "").split()
    if line[-1:].isspace():
        words.append("")
    program = 2 if words and re.match(r"(.*/)?python[\d.]*$", words[0]) else 1
    return words[program:] or [""]


def _names(key: str, before: Sequence[str]) -> Iterable[str]:
    """Groups with `=` and settings with `=` or, where more follows, `.`; all that begin with `key`."""
    known = [name for name in groups() if not name.startswith("hydra/") or key.startswith("hydra")]
    names = {f"{name}=" for name in known if name.startswith(key)}
    parent, dot, leaf = key.rpartition(".")
    node = _settings(before, parent)
    for name, value in node.items() if isinstance(node, dict) else ():
        if name.startswith(leaf) and not (not parent and f"{name}=" in names and not isinstance(value, dict)):
            names.add(f"{parent}{dot}{name}{'.' if isinstance(value, dict) else '='}")
    return names


def _options(group: str, value: str, *, multirun: bool) -> Iterable[str]:
    """Options of a group; behind `[a,` or, in a sweep, `a,` those that are not named yet."""
    options = groups()[group]
    first, comma, last = value.rpartition(",")
    if not comma and value.startswith("[") and group in SEVERAL:
        first, comma, last = "", "[", value[1:]
    elif comma and not (value.startswith("[") and group in SEVERAL) and not multirun:
        return []
    named = first.strip("[").split(",")
    return [f"{first}{comma}{option}" for option in options if option.startswith(last) and option not in named]


def _values(key: str, value: str, before: Sequence[str]) -> Iterable[str]:
    """The value that a setting has, or files: where one is begun, or where there is no value."""
    present = _settings(before, key)
    if value.startswith((".", "/", "~")) or present in (None, "???"):
        return _files(value)
    text = str(present).lower() if isinstance(present, bool) else str(present)
    return [text] if text.startswith(value) and not isinstance(present, dict | list) else []


def _files(begun: str) -> Iterable[str]:
    folder, _, name = begun.rpartition("/")
    root = Path(os.path.expanduser(folder or ("/" if begun.startswith("/") else ".")))
    if not root.is_dir():
        return []
    found = [entry for entry in root.iterdir() if entry.name.startswith(name)]
    prefix = f"{folder}/" if "/" in begun else ""
    return [f"{prefix}{entry.name}{'/' if entry.is_dir() else ''}" for entry in found if " " not in entry.name]


def _settings(before: Sequence[str], dotted: str) -> Any:
    """What the configuration holds under a dotted name, as plain values; {} where the words so far make no configuration."""
    overrides = [word for word in before if "=" in word and not word.startswith("-")]
    node = _composed(overrides) or _composed([])
    for name in dotted.split(".") if dotted else ():
        if not isinstance(node, dict) or name not in node:
            return {}
        node = node[name]
    return node


def _composed(overrides: Sequence[str]) -> Any:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.to_container(compose(overrides), resolve=True)
    except (ConfigError, OmegaConfBaseException):  # an unfinished word, or several values of a sweep
        return {}
