"""The pages of the site that are made while it is built: one for each config group, out of conf/ itself, and the table of recipes.

A hook of mkdocs (`hooks:` in mkdocs.yml). Nothing of it is committed, so nothing of it can be out of date.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from mkdocs.structure.files import File, Files

from kinnari.tasks.compose import conf_folder
from kinnari.tasks.listing import Choice, choices

SETTINGS = "reference/settings.md"
RECIPES = "<!-- recipes -->"
ROOT = Path(__file__).resolve().parents[1]


def on_config(config: Any) -> Any:
    """Name the made pages in the navigation."""
    section = next(entry for entry in config.nav if "Reference" in entry)
    section["Reference"] = [{"Settings of every run": SETTINGS}, *({group: page_name(group)} for group in by_group())]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add them to the site."""
    files.append(File.generated(config, SETTINGS, content=settings_page((conf_folder() / "config.yaml").read_text(encoding="utf-8"))))
    for group, found in by_group().items():
        files.append(File.generated(config, page_name(group), content=group_page(group, found)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Fill in the table of recipes; links to files outside docs/ become their names, because the site does not carry them."""
    folder = posixpath.dirname(page.file.src_uri)
    return without_outside_links(markdown.replace(RECIPES, table(choices(["experiment"]), command=True)), folder)


def by_group() -> dict[str, list[Choice]]:
    """The choices of task=list by group, in its order."""
    found: dict[str, list[Choice]] = {}
    for choice in choices():
        found.setdefault(choice.group, []).append(choice)
    return found


def page_name(group: str) -> str:
    """`strategy/parallel` -> `reference/strategy_parallel.md`."""
    return f"reference/{group.replace('/', '_')}.md"


def group_page(group: str, found: Sequence[Choice]) -> str:
    """The options of a group as a table, then each file whole."""
    count = f"{len(found)} option{'s' if len(found) > 1 else ''}"
    parts = [f"# {group}", f"{chosen_by(group)} {count}, as they stand in `conf/{group}`.", table(found)]
    for choice in found:
        text = (conf_folder() / group / f"{choice.option}.yaml").read_text(encoding="utf-8").rstrip()
        parts.append(f"## {choice.option} {{ #{choice.option} }}\n\n{plain(choice.what)}")
        if choice.command:
            parts.append(f"```bash\npython launch.py {choice.command}\n```")
        parts.append(f'```yaml title="conf/{group}/{choice.option}.yaml"\n{text}\n```')
    return "\n\n".join(parts) + "\n"


def chosen_by(group: str) -> str:
    """How a group is chosen on the command line, and what stands without a word."""
    defaults = yaml.safe_load((conf_folder() / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    default = next((entry[group] for entry in defaults if isinstance(entry, dict) and group in entry), "")
    if default == "":
        outer = group.partition("/")[0]
        return f"`{group}=OPTION`; without a word the file of `{outer}` chooses." if "/" in group else f"`{group}=OPTION`."
    told = "nothing" if default in (None, []) else ", ".join(default) if isinstance(default, list) else default
    return f"`{group}=OPTION`; without a word: {told}."


def table(found: Sequence[Choice], *, command: bool = False) -> str:
    """Markdown table of choices; facts have columns of their own, `command` adds the example of each file."""
    facts = list(dict.fromkeys(name for choice in found for name in choice.facts))
    columns = ["option", *facts, "what it is", *(["command"] if command else [])]
    rows = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    page = "reference/experiment.md" if command else ""
    for choice in found:
        example = [f"`python launch.py {choice.command}`".replace("|", "\\|")] if command else []
        told = [choice.facts.get(name, "") for name in facts]
        cells = [f"[`{choice.option}`]({page}#{choice.option})", *told, plain(choice.what), *example]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def plain(text: str) -> str:
    """Text of a comment as markdown that shows it as it is."""
    return re.sub(r"([|*\[\]])", r"\\\1", html.escape(text, quote=False))


def settings_page(text: str) -> str:
    """conf/config.yaml, one heading for each of its sections."""
    told = "What `conf/config.yaml` sets beside the groups; `python launch.py --cfg job` shows all of it with its values."
    parts = ["# Settings of every run", told]
    for name, block in sections(text):
        parts.append(f"## {name}\n\n```yaml\n{block}\n```")
    return "\n\n".join(parts) + "\n"


def sections(text: str) -> Iterator[tuple[str, str]]:
    """(top-level key, its lines with the comment right before it), in order; without defaults and Hydra's own settings."""
    found: dict[str, list[str]] = {}
    comment: list[str] = []
    lines: list[str] = []
    for line in text.splitlines():
        key = re.match(r"(\w+):", line)
        if key:
            lines = found.setdefault(key.group(1), [])
            lines.extend([*comment, line])
            comment = []
        elif line.startswith("#"):
            comment.append(line)
        elif line.strip():
            lines.append(line)
        else:
            comment = []
    yield from ((name, "\n".join(block)) for name, block in found.items() if name not in ("defaults", "hydra"))


def without_outside_links(markdown: str, folder: str) -> str:
    """`[text](../kinnari/x.py)` -> `text`, with the path behind it unless the text says it."""

    def replace(link: re.Match[str]) -> str:
        label, target = link.groups()
        path = posixpath.normpath(posixpath.join("docs", folder, target.partition("#")[0]))
        if path.startswith("docs/") or not (ROOT / path).exists():  # mkdocs tells of those that lead nowhere
            return link.group()
        return label if path.rstrip("/") in label else f"{label} (`{path}`)"

    return re.sub(r"(?<!!)\[([^\]\n]+)\]\((\.\.?/[^)\s]+)\)", replace, markdown)
