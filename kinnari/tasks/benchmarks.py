"""The benchmarks that `benchmark=` names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.utils import instantiate

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks import Benchmark


def chosen(benchmark: Mapping[str, Any]) -> list[Benchmark]:
    """The benchmarks of the section `benchmark`, in the order of the command.

    Raises:
        ConfigError: a setting that a benchmark does not have, or cannot have.
    """
    nodes = {name: node for name, node in benchmark.items() if isinstance(node, Mapping)}
    made = [instantiate(node, _convert_="all", **({} if "name" in node else {"name": name})) for name, node in nodes.items()]
    for name, one in zip(nodes, made, strict=True):
        if not isinstance(one, Benchmark):
            raise ConfigError(f"benchmark.{name}._target_={nodes[name]['_target_']} makes no benchmark, but a {type(one).__name__}.")
    return made
