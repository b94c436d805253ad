"""The site builds without a warning, holds a page for every option, and asks nobody else for anything."""

from __future__ import annotations

import html
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from kinnari.tasks.compose import conf_folder
from kinnari.tasks.config_errors import groups
from tests.docs.commands import ROOT

GROUPS = {name: options for name, options in groups().items() if name != "hydra/help"}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr  # links, anchors and pages without a place in the navigation are warnings, and so errors
    return folder


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_pages", ROOT / "docs" / "reference_pages.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_every_option_of_every_group_has_a_place(site):
    for group, options in GROUPS.items():
        page = (site / "reference" / group.replace("/", "_") / "index.html").read_text(encoding="utf-8")
        assert [option for option in options if f'id="{option}"' not in page] == [], group


@pytest.mark.slow
def test_a_page_shows_the_files_as_they_are(site):
    page = (site / "reference" / "strategy_tuning" / "index.html").read_text(encoding="utf-8")
    shown = html.unescape(re.sub(r"<[^>]+>", "", page))
    for option in GROUPS["strategy/tuning"]:
        assert (conf_folder() / "strategy" / "tuning" / f"{option}.yaml").read_text(encoding="utf-8").strip() in shown


@pytest.mark.slow
def test_recipes_are_listed_with_their_commands(site):
    page = html.unescape((site / "recipes" / "index.html").read_text(encoding="utf-8"))
    assert [name for name in GROUPS["experiment"] if f"experiment={name}" not in page] == []


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert re.findall(r"<(?:script|link|img|iframe|source)[^>]*(?:src|href)=[\"']?(?:https?:)?//[^>]*>", text) == [], page
    assert [style for style in site.rglob("*.css") if re.search(r"(@import|url\()\s*[\"']?(https?:)?//", style.read_text("utf-8"))] == []


@pytest.mark.slow
def test_what_there_is_can_be_searched_for(site):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert any(entry["location"] == "reference/model/#xglm7b" for entry in index["docs"])


def test_a_link_out_of_the_documentation_becomes_a_name(hook):
    page = "See [spec.py](../kinnari/models/spec.py), [kinnari/errors.py](../kinnari/errors.py) and [data](data.md)."
    told = "See spec.py (`kinnari/models/spec.py`), kinnari/errors.py and [data](data.md)."
    assert hook.without_outside_links(page, "") == told
    nowhere = "[gone](../kinnari/gone.py)"
    assert hook.without_outside_links(nowhere, "") == nowhere, "left for mkdocs to complain of"


def test_the_settings_page_has_every_section_of_the_main_file(hook):
    text = (conf_folder() / "config.yaml").read_text(encoding="utf-8")
    named = [name for name, _ in hook.sections(text)]
    assert [*named, "hydra"] == [key for key in re.findall(r"^(\w+):", text, re.MULTILINE) if key != "defaults"]
    small = "seed: 1\n# Where.\nfolder: x\n\n# Rows.\nbatch:\n  size: 2 # of a step\n\n# More.\nlast: 1"
    blocks = dict(hook.sections(small))
    assert blocks["batch"] == "# Rows.\nbatch:\n  size: 2 # of a step" and blocks["last"] == "# More.\nlast: 1"


def test_text_of_a_comment_is_no_markup(hook):
    assert hook.plain("<sys> a|b *x* [y]") == "&lt;sys&gt; a\\|b \\*x\\* \\[y\\]"
