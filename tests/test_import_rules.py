"""Who may import whom: floors with every arrow pointing down, light where it has to be.

4  launch.py
3  callbacks, kinnari.tasks
2  lightning_modules, kinnari.evaluation, kinnari.planning, kinnari.serving
1  kinnari.strategies, kinnari.generation, kinnari.export, datamodules
0  kinnari.functional (torch alone), kinnari.text, kinnari.models, kinnari.errors
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SURFACE = ("lightning_modules", "datamodules", "callbacks")
FLOORS = {
    "kinnari.errors": 0, "kinnari.functional": 0, "kinnari.text": 0, "kinnari.models": 0, "kinnari.cleaning": 0,
    "kinnari.strategies": 1, "kinnari.generation": 1, "kinnari.export": 1, "kinnari.preparation": 1, "datamodules": 1,
    "lightning_modules": 2, "kinnari.evaluation": 2, "kinnari.planning": 2, "kinnari.completion": 2, "kinnari.translation": 2,
    "kinnari.bootstrap": 2, "kinnari.rollouts": 2, "kinnari.serving": 2,
    "callbacks": 3, "kinnari.tasks": 3,
    "launch": 4,
}  # fmt: skip
FILES = [f for p in ("kinnari", *SURFACE) for f in sorted((ROOT / p).rglob("*.py"))] + [ROOT / "launch.py"]
NAMES = [str(f.relative_to(ROOT)) for f in FILES]
# Optional or slow to import: only inside the one function that needs them.
LAZY = ("deepspeed", "bitsandbytes", "wandb", "trl", "nltk", "rouge_score", "optuna", "submitit", "opencc", "jieba", "codecarbon",
        "matplotlib")  # fmt: skip
# May import such a package at the top, having to derive from its classes; so it counts as lazy itself.
BUILT_ON_LAZY = ("kinnari.strategies.deepspeed",)


def module_name(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def part_of(module: str) -> str | None:
    """The entry of FLOORS that a module belongs to; None for other people's modules and for `kinnari` itself."""
    for depth in (2, 1):
        name = ".".join(module.split(".")[:depth])
        if name in FLOORS:
            return name
    return None


def imports(file: str) -> Iterator[tuple[str, bool]]:
    """(imported module, whether at the top of the file) of every import statement."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    inside = {node for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef)) for node in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node not in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide where a name comes from"
            # `from kinnari import text` imports kinnari.text
            names = [f"kinnari.{alias.name}" for alias in node.names] if node.module == "kinnari" else [str(node.module)]
            yield from ((name, node not in inside) for name in names)


@pytest.mark.parametrize("file", NAMES)
def test_every_part_stands_on_a_floor(file):
    assert file == "kinnari/__init__.py" or part_of(module_name(file)) is not None


@pytest.mark.parametrize("file", NAMES)
def test_every_arrow_points_down(file):
    here = part_of(module_name(file))
    floor = FLOORS[here] if here else 0
    too_high = [name for name, _ in imports(file) if (part := part_of(name)) and FLOORS[part] > floor]
    assert not too_high, f"{file} (floor {floor}) imports {too_high}"


@pytest.mark.parametrize("file", NAMES)
def test_the_library_never_imports_the_surface_and_surface_packages_never_each_other(file):
    package = file.split("/")[0]
    others = [name for name, _ in imports(file) if name.split(".")[0] in SURFACE and name.split(".")[0] != package]
    assert not others, f"{file} imports {others}; Hydra's _target_ brings them together"


@pytest.mark.parametrize("file", [n for n in NAMES if n.startswith("kinnari/functional/")])
def test_functional_imports_torch_alone(file):
    foreign = [n for n, _ in imports(file) if n.split(".")[0] not in {*sys.stdlib_module_names, "torch"}]
    assert all(name.startswith("kinnari.functional") for name in foreign), f"{file} imports {foreign}"


@pytest.mark.parametrize("file", [n for n in NAMES if not n.startswith("kinnari/tasks/") and n != "launch.py"])
def test_config_objects_stop_in_tasks(file):
    assert not [name for name, _ in imports(file) if name.split(".")[0] in ("hydra", "omegaconf")]


@pytest.mark.parametrize("file", [n for n in NAMES if module_name(n) not in BUILT_ON_LAZY])
def test_heavy_optional_packages_are_imported_where_they_are_used(file):
    at_top = [name for name, top in imports(file) if top]
    assert not [name for name in at_top if name in BUILT_ON_LAZY or name.split(".")[0] in LAZY]


@pytest.mark.parametrize("file", ["launch.py", "kinnari/tasks/config_errors.py", "kinnari/tasks/compose.py", "kinnari/errors.py"])
def test_what_every_command_imports_is_light(file):
    allowed = {*sys.stdlib_module_names, "hydra", "omegaconf"}
    light = {"kinnari.errors", "kinnari.tasks.compose", "kinnari.tasks.config_errors"}
    assert not [name for name, at_top in imports(file) if at_top and name.split(".")[0] not in allowed and name not in light]


OUTSIDE = [*sorted((ROOT / "benchmarks").glob("*.py")), *sorted((ROOT / "tests").rglob("*.py"))]


@pytest.mark.parametrize("file", [*NAMES, *(str(f.relative_to(ROOT)) for f in OUTSIDE)])
def test_what_is_imported_from_the_project_exists(file):
    # Also inside functions and in benchmarks, which no other test may ever run.
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        module = node.module if isinstance(node, ast.ImportFrom) else None
        if module and module.split(".")[0] in ("kinnari", "benchmarks", *SURFACE):
            found = importlib.import_module(module)
            missing = [a.name for a in node.names if not hasattr(found, a.name) and find_spec(f"{module}.{a.name}") is None]
            assert missing == [], f"{file} imports {missing} from {module}"
