"""`python launch.py --version`: what is installed, without importing any of it."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version

from kinnari.tasks.compose import conf_folder
from kinnari.tasks.result import versions


def version_lines() -> list[str]:
    """`name version`, one package a line: Kinnari, what computes, and the commit where Kinnari runs from a checkout."""
    try:
        own = version("kinnari")
    except PackageNotFoundError:  # a source tree that was never installed
        own = "not installed"
    found = {"kinnari": own, **versions(), "git_commit": checkout()}
    return [f"{name} {value}" for name, value in found.items() if value is not None]


def checkout() -> str | None:
    """The commit of the source tree, with `+changes` where files differ from it; None for an installed package."""
    root = conf_folder().parent
    if not (root / ".git").exists():
        return None
    asked = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+changes"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or None
    except FileNotFoundError:  # a machine without git
        return None
