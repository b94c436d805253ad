"""From an exception of Hydra or OmegaConf to one paragraph that says what was wrong and what to write instead.

Imported by `launch.py` for every command, so it imports nothing that takes time.
"""

from __future__ import annotations

import difflib
import errno
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kinnari.errors import ConfigError, RunStopped
from kinnari.tasks.compose import conf_folder

WIDTH = 100
MANY = 30  # options that would push what was meant out of sight
_UNUSABLE_PATH = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ENOSPC,
                  errno.EDQUOT)  # fmt: skip
SEVERAL = ("data", "benchmark", "callbacks", "logger", "experiment", "debug")  # groups of which several files make sense at once
EXTRAS = {"optuna": "sweep", "submitit": "slurm", "wandb": "wandb", "codecarbon": "energy"}  # part of a name -> the extra that brings it
_COMMANDS = ("--run", "-r", "--multirun", "-m", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc")


def groups() -> dict[str, list[str]]:
    """Every config group and its options: {"strategy/parallel": ["auto", "ddp", ...]}."""
    root = conf_folder()
    found: dict[str, list[str]] = {}
    for file in sorted(root.rglob("*.yaml")):
        if file.parent != root:
            found.setdefault(file.parent.relative_to(root).as_posix(), []).append(file.stem)
    return found


def spot_mistakes(argv: Sequence[str]) -> None:
    """Refuse what Hydra would take without a word and do something else with, or meet with a traceback.

    Args:
        argv: the command line without the name of the program.

    Raises:
        ConfigError: a group named with a dot, an option given as a group's name, flags that exclude each other.
    """
    _spot_flags(argv)
    known = groups()
    for argument in argv:
        key, equals, value = argument.partition("=")
        key = key.lstrip("+~")
        if equals and not key.startswith("-"):
            _spot_dotted_group(key, value, known)
            _spot_several_options(key, value, known)


def _spot_flags(argv: Sequence[str]) -> None:
    commands = [a for a in argv if a.partition("=")[0] in _COMMANDS]
    if len(commands) > 1:
        raise ConfigError(
            f"{' and '.join(commands)} exclude each other: each says what to do with the configuration. Give one of "
            "them; "
            "`--cfg job` shows the configuration of a single run."
        )
    if "--resolve" in argv and not {"--cfg", "-c", "--help", "-h"} & {a.partition("=")[0] for a in argv}:
        raise ConfigError("--resolve only changes how a configuration is shown; write `--cfg job --resolve`.")


def _spot_dotted_group(key: str, value: str, known: dict[str, list[str]]) -> None:
    path = key.replace(".", "/")
    if path != key and path in known and not value.startswith("{"):
        raise ConfigError(
            f"{key}={value}: `{path}` is a group of files, and a dot would replace its settings by the text {value!r}. "
            "Write "
            f"{path}={value} (one of {', '.join(known[path])})."
        )
    group = path.removesuffix("/name")
    if group != path and value in known.get(group, ()):
        raise ConfigError(
            f"{key}={value} would change the label and keep the settings of another file. Write {group}={value} to choose it."
        )


def _spot_several_options(key: str, value: str, known: dict[str, list[str]]) -> None:
    if key in known and key not in SEVERAL and value.startswith("["):
        options = value.strip("[]").replace(" ", "")
        raise ConfigError(
            f"{key}={value}: {key} takes one option, and the last of several would win unseen. Write "
            f"{key}={options.split(',')[-1]}, "
            f"or `-m {key}={options}` for one run with each; only {', '.join(SEVERAL)} take a list."
        )


def is_users_mistake(problem: BaseException) -> bool:
    """Whether the user can mend it on the command line or in a yaml file; anything else is a defect and keeps its traceback."""
    from hydra.errors import CompactHydraException, InstantiationException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(problem, InstantiationException):
        # What a constructor raised for reasons of its own is a defect, unless it says otherwise or did not accept its arguments.
        cause = problem.__cause__
        return cause is None or isinstance(cause, (ConfigError, ImportError)) or "argument" in _argument_error(cause)
    if isinstance(problem, OSError) and not isinstance(problem, CompactHydraException):  # hydra's MissingConfigException is both
        return problem.filename is not None and problem.errno in _UNUSABLE_PATH
    return isinstance(problem, (ConfigError, CompactHydraException, OmegaConfBaseException)) or _no_option(problem) or _no_plugin(problem)


def _no_option(problem: BaseException) -> bool:
    """What hydra 1.3 says, without a class of its own, where a group that a task chooses an option of is set to null."""
    return isinstance(problem, ValueError) and str(problem).startswith("Config group override must be a string or a list")


def _no_plugin(problem: BaseException) -> bool:
    """What hydra 1.3 says, without a class of its own, of a launcher that has a file here and whose package is not installed."""
    return isinstance(problem, RuntimeError) and str(problem).startswith("Unknown plugin class") and bool(_extra(str(problem)))


def explain(problem: BaseException) -> str:
    """One paragraph of at most 100 columns for a mistake that `is_users_mistake` recognises."""
    text = re.sub(r"\s+", " ", _account(problem)).strip()
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _account(problem: BaseException) -> str:
    from hydra.errors import InstantiationException, MissingConfigException, OverrideParseException
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    if isinstance(problem, (ConfigError, RunStopped)):
        return str(problem)
    if isinstance(problem, MissingConfigException):  # an OSError too
        return _unknown_option(problem)
    if _no_plugin(problem):
        return f"A plugin of Hydra is not installed ({str(problem).rpartition('.')[2].strip(chr(39))}). {_extra(str(problem))}"
    if _no_option(problem):
        return "A group of files is set to null, and the task or experiment needs one of its options. Leave that out, or name an option."
    if isinstance(problem, OSError):
        return f"{problem.filename}: {problem.strerror}. Choose another output_dir, or correct the path or its permissions."
    if isinstance(problem, OverrideParseException):
        return _unreadable(problem.override)
    if isinstance(problem, InstantiationException):
        return _not_built(problem)
    if isinstance(problem, MissingMandatoryValue):
        return missing_value(_full_key(problem))
    if isinstance(problem, OmegaConfBaseException):
        return _bad_value(problem)
    return _not_composed(problem)


def missing_value(*keys: str) -> str:
    """What to write for settings that no file can know."""
    names = ", ".join(keys)
    return f"{names} must be given: nothing stands there by default. Add {' '.join(f'{k}=VALUE' for k in keys)}"


def _unknown_option(problem: Any) -> str:
    group, _, option = str(problem.missing_cfg_file).rpartition("/")
    options = list(problem.options or groups().get(group, ()))
    if not options:
        return f"{first_line(problem)} Leave out --config-name and --config-path, or correct them."
    if not option:
        return f"{group}= names no file. Its options: {', '.join(options)}."
    extra = _extra(option)
    if extra:
        return f"{group}={option} is not installed. {extra}"
    listed = f"The options of {group}: {', '.join(options)}."
    if len(options) > MANY:
        listed = f"`python launch.py task=list task.group={group}` tells what the {len(options)} options of {group} are."
    return f"{group}={option} is unknown.{_nearest(option, options, group + '=')} {listed}"


def _unreadable(override: str) -> str:
    if re.fullmatch(r"[\w./@+~-]+", override):
        return f"{override!r} is no setting: it has no value. Write {override}=VALUE; `python launch.py --help` lists what can be set."
    quoted = "Put the whole setting in single quotes, so that the shell hands it over as one piece: "
    if override.count("[") != override.count("]") or override.count("{") != override.count("}"):
        closing = {"[": "]", "{": "}"}["[" if override.count("[") != override.count("]") else "{"]
        return f"{override!r} has a bracket without its partner {closing!r}. {quoted}'data=[alpaca,chatterbot]', without spaces."
    if override.count('"') % 2 or override.count("'") % 2:
        return f"{override!r} has a quotation mark without its partner. {quoted}'task.prompts=[\"What is AI?\"]'."
    if re.search(r"\s=|=\s", override) or override.startswith("="):
        return f"{override!r} cannot be read: there may be no space around `=`, and a name must stand before it."
    key, _, value = override.partition("=")
    if not value.isascii() and value.startswith("["):
        quoted_items = ",".join('"' + item.strip(" \"'") + '"' for item in value.strip("[]").split(","))
        return f"{override!r} cannot be read: Hydra takes text outside ASCII only in quotes. Write '{key}=[{quoted_items}]'."
    inner = value.replace("\\", "\\\\").replace('"', '\\"')
    return (
        f"{override!r} cannot be read: text with any of ( ) {{ }} [ ] , : = or a quotation mark needs quotes of its "
        "own inside "
        f"the shell's: '{key}=\"{inner}\"'."
    )


def _not_composed(problem: BaseException) -> str:
    """Hydra's ConfigCompositionException, which says in its text alone what happened."""
    message, cause = str(problem), problem.__cause__
    unknown = re.search(r"Could not (?:override|delete|delete from config\.) '([^']+)'", message)
    if message.startswith("Could not delete") and unknown and unknown.group(1).partition("=")[0] in groups():
        return f"{unknown.group(1)} is not what was chosen, so it cannot be removed. Leave out ~{unknown.group(1)}."
    if "Ambiguous value" in message or "requires --multirun" in message:
        return _sweep_without_multirun(message)
    if unknown is not None:
        return _unknown_key(unknown.group(1), _keys_of(cause) or _keys_of_default())
    added = re.search(r"An item is already at '([^']+)'|Multiple values for (\S+)\. To override", message)
    if added:
        key = added.group(1) or added.group(2)
        return f"{key} exists already, so it is set without the plus sign: {key}=VALUE."
    if cause is not None and message != str(cause):
        return f"{message.removeprefix('Error merging override ')}: {_account(cause)}"
    return first_line(cause or problem)


def _sweep_without_multirun(message: str) -> str:
    found = re.search(r"'([^']*=.*?)'( requires|\s*\n|$)", message)
    override = found.group(1) if found else "key=a,b"
    key, _, value = override.partition("=")
    runs = f"{override} gives several values to one run. To run once for each, add -m: python launch.py -m '{override}'."
    return runs if "(" in value else f"{runs} For a list write '{key}=[{value}]', for a text with commas '{key}=\"{value}\"'."


def _unknown_key(key: str, existing: Sequence[str]) -> str:
    known = [group for group in groups() if not group.startswith("hydra/")]
    existing = [name for name in existing if name.startswith("hydra.") == key.startswith("hydra.")]
    dotted = key.replace("/", ".")
    if dotted != key and dotted in existing:
        return f"{key} is a setting and not a group of files, so it is written with dots: {dotted}=VALUE."
    if "/" in key:
        return f"There is no group {key!r}.{_nearest(key, known, '')} The groups: {', '.join(known)}."
    parent, _, leaf = key.rpartition(".")
    siblings = [name.removeprefix(parent + ".").partition(".")[0] for name in existing if name.startswith(parent + ".")]
    listed = f" The settings of {parent}: {', '.join(dict.fromkeys(siblings))}." if parent and siblings else ""
    elsewhere = [f"{group}={option}" for group, option in _files_with(parent, leaf)]
    found = f" It belongs to {' and '.join(elsewhere)}." if elsewhere else _nearest(key, existing if parent else [*existing, *known], "")
    return (
        f"There is no setting {key!r}.{found}{listed} `python launch.py --cfg job` shows all settings; +{key}=VALUE "
        "adds one that "
        "the code you call takes."
    )


def _files_with(parent: str, leaf: str) -> Iterator[tuple[str, str]]:
    """Options of the group `parent` (dotted) that have a setting `leaf`, while the chosen one has not; or `data.x` -> data, x."""
    group = parent.replace(".", "/")
    outer, _, name = group.rpartition("/")
    if name in groups().get(outer, ()):
        yield outer, name
    for option in groups().get(group, ()):
        text = (conf_folder() / group / f"{option}.yaml").read_text(encoding="utf-8")
        if re.search(rf"^{re.escape(leaf)}:", text, re.MULTILINE):
            yield group, option


def _keys_of(cause: BaseException | None) -> list[str]:
    """Dotted names of every value of the configuration that an OmegaConf exception comes from."""
    from omegaconf.errors import OmegaConfBaseException

    node = cause.parent_node if isinstance(cause, OmegaConfBaseException) else None
    if node is None:
        return []
    return list(_dotted(_plain(node._get_root())))


def _plain(node: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(node, resolve=False)


def _keys_of_default() -> list[str]:
    from kinnari.tasks.compose import compose

    return list(_dotted(_plain(compose())))


def _dotted(content: Any, prefix: str = "") -> Iterator[str]:
    for name, value in content.items() if isinstance(content, dict) else ():
        yield from _dotted(value, f"{prefix}{name}.") if isinstance(value, dict) and value else (f"{prefix}{name}",)


def _bad_value(problem: Any) -> str:
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, InterpolationResolutionError

    key = _full_key(problem)
    if isinstance(problem, InterpolationResolutionError):
        return f"{key} refers to something that cannot be found: {first_line(problem)}."
    if isinstance(problem, (ConfigAttributeError, ConfigKeyError)):
        return f"The configuration lacks {key}, which this run needs. {_unknown_key(key, _keys_of(problem))}"
    return f"{key}: {first_line(problem)}." if key else first_line(problem)


def _not_built(problem: BaseException) -> str:
    cause, full_key = problem.__cause__, re.search(r"full_key: (\S+)", str(problem))
    where = f" ({full_key.group(1)} in the configuration)" if full_key else ""
    if isinstance(cause, ConfigError):
        return str(cause)
    target = re.search(r"'([\w.]+)'", str(problem))
    name = target.group(1) if target else "the _target_"
    if isinstance(cause, TypeError):
        return f"{name}{where} does not take these settings: {_argument_error(cause)}. Correct or remove the one it names."
    detail = first_line(problem) if cause is None else str(cause).splitlines()[-1]
    remedy = _extra(f"{name} {detail}") or "Check the spelling of `_target_`."
    return f"{name}{where} cannot be imported: {detail} {remedy}"


def _extra(name: str) -> str:
    found = [extra for part, extra in EXTRAS.items() if part in name.lower()]
    return f"Install the extra that brings it: pip install 'kinnari[{found[0]}]'." if found else ""


def _argument_error(cause: BaseException | None) -> str:
    """What Python says of a call with wrong arguments; empty for every other exception."""
    return str(cause) if isinstance(cause, TypeError) and re.search(r"(un)?expected|missing \d+ required", str(cause)) else ""


def _full_key(problem: Any) -> str:
    told = re.search(r"full_key: (\S+)", str(problem))
    return str(problem.full_key or problem.key or (told and told.group(1)) or "A setting")


def _nearest(name: str, options: Iterable[str], prefix: str) -> str:
    """Sentence with the names most like `name`; empty if none is."""
    options = list(dict.fromkeys(options))
    last = name.rpartition(".")[2]
    same = [option for option in options if option.rpartition(".")[2] == last]
    close = difflib.get_close_matches(name.lower(), options, n=3, cutoff=0.75)
    endings = [o for o in options if difflib.SequenceMatcher(None, last.lower(), o.rpartition(".")[2]).ratio() > 0.8]
    longer = [o for o in options if len(name) > 2 and o.startswith(name.lower())]
    found = list(dict.fromkeys([*same, *close, *endings, *longer]))[:3]
    return f" Did you mean {' or '.join(prefix + option for option in found)}?" if found else ""


def first_line(problem: BaseException) -> str:
    """The first line of an exception's message that says something."""
    return next((line.strip() for line in str(problem).splitlines() if line.strip()), type(problem).__name__)
