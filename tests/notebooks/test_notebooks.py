"""The notebooks run from top to bottom without a network, and are kept as a reader wants to find them: without outputs."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
# The only classes and functions that notebooks write themselves: what they are about. Everything else is the library's.
WRITTEN = {
    "02_your_own_source": {"Phrasebook", "test_a_phrase_is_asked_for_in_its_language", "test_a_row_that_is_none_says_why"},
    "05_evaluate_and_judge": {"ScriptedJudge"},
}
SECONDS_A_CELL = 300  # of a machine that others use; alone, the slowest cell takes about 20
# Runs before a notebook's own cells. What is asked for is written down as well, since a library may go on without an answer.
NO_NETWORK = """
import socket

connect, find = socket.socket.connect, socket.getaddrinfo


def refuse(host):
    if host in (None, "", "localhost", "127.0.0.1", "::1"):
        return
    with open("network.txt", "a") as file:
        file.write(f"{host}\\n")
    raise OSError(f"no network here, and {host} was asked for")


def guarded_connect(self, address):
    if isinstance(address, tuple):
        refuse(address[0])
    return connect(self, address)


def guarded_find(host, *arguments, **keywords):
    refuse(host)
    return find(host, *arguments, **keywords)


socket.socket.connect, socket.getaddrinfo = guarded_connect, guarded_find
"""


def cells_of(path: Path, kind: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def python_of(cell: nbformat.NotebookNode) -> str:
    """Its code, without the line that says which file it is written to."""
    first, _, rest = cell.source.partition("\n")
    return rest if first.startswith("%%writefile ") else cell.source


def nodes_of(path: Path) -> list[ast.AST]:
    return [node for cell in cells_of(path, "code") for node in ast.walk(ast.parse(python_of(cell)))]


def imported_by(path: Path) -> set[str]:
    nodes = nodes_of(path)
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}


def test_the_notebooks_are_there():
    assert NAMES == [
        "00_follow_one_batch",
        "01_first_fine_tune",
        "02_your_own_source",
        "03_reward_and_ppo",
        "04_plan_a_7b_run",
        "05_evaluate_and_judge",
        "06_sweeps",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_runs_from_top_to_bottom_without_a_network(path, tmp_path, monkeypatch):
    monkeypatch.setenv("KINNARI_NOTEBOOK_MODEL", "tiny_causal")
    monkeypatch.setenv("KINNARI_NOTEBOOK_STEPS", "20")
    monkeypatch.setenv("KINNARI_PREPARED", str(tmp_path / "prepared"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(NO_NETWORK))

    client = NotebookClient(notebook, timeout=SECONDS_A_CELL, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    client.execute()  # raises what a cell raises, a failed assertion among it

    assert not (tmp_path / "network.txt").exists(), (tmp_path / "network.txt").read_text()
    assert {file.name for file in tmp_path.iterdir()} <= {"outputs", "prepared"}, "a notebook writes into outputs/ alone"
    for folder in tmp_path.iterdir():
        shutil.rmtree(folder)


def test_a_notebook_that_asked_for_the_network_would_be_found_out(tmp_path):
    asking = NO_NETWORK + "\ntry:\n    socket.create_connection(('192.0.2.1', 80), timeout=1)\nexcept OSError:\n    pass\n"
    subprocess.run([sys.executable, "-c", asking], cwd=tmp_path, check=True)
    assert (tmp_path / "network.txt").read_text() == "192.0.2.1\n"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_no_outputs_are_stored(path):
    assert not [cell.id for cell in cells_of(path, "code") if cell.outputs or cell.execution_count is not None]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_uses_the_library_and_defines_only_what_it_is_about(path):
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    nodes = nodes_of(path)
    methods = [part for node in nodes if isinstance(node, ast.ClassDef) for part in node.body]
    assert {node.name for node in nodes if isinstance(node, definitions) and node not in methods} == WRITTEN.get(path.stem, set())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_knows_configurations_by_compose_alone_and_says_so(path):
    imported = imported_by(path)
    assert not {name for name in imported if name.split(".")[0] in ("hydra", "omegaconf", "launch")}
    if "kinnari.tasks.compose" in imported:
        prose = "\n".join(cell.source for cell in cells_of(path, "markdown"))
        assert "`compose`" in prose and "configuration" in prose


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_what_needs_no_configuration_by_its_own_words_has_none(path):
    cells = nbformat.read(path, as_version=4).cells
    said = [i for i, cell in enumerate(cells) if cell.cell_type == "markdown" and "needs the configuration" in cell.source]
    after = [cell for i in said for cell in cells[i:] if cell.cell_type == "code"]
    assert not [cell.id for cell in after for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name) and node.id == "cfg"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_each_step_is_explained_and_what_is_claimed_is_asserted(path):
    cells = nbformat.read(path, as_version=4).cells
    code, prose = (sum(cell.cell_type == kind for cell in cells) for kind in ("code", "markdown"))
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    assert prose >= code - 2
    assert sum(isinstance(node, ast.Assert) for node in nodes_of(path)) >= (2 if path.stem == "01_first_fine_tune" else 4)
