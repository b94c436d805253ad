"""A configuration without the command line, for notebooks and tests.

from kinnari.tasks.compose import compose
cfg = compose(["model=tiny_causal", "strategy=full", "trainer.max_steps=10"])
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kinnari.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def conf_folder() -> Path:
    """The folder of `config.yaml`: inside the package once installed, beside it in a source tree.

    Raises:
        ConfigError: neither is there.
    """
    package = Path(__file__).resolve().parents[1]
    places = (package / "conf", package.parent / "conf")
    for place in places:
        if (place / "config.yaml").is_file():
            return place
    raise ConfigError(f"No config.yaml in {places[0]} or {places[1]}: the installation is incomplete; install Kinnari again.")


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration that `python launch.py <overrides>` would run with.

    `output_dir` is resolved here, so that every later use of the configuration means the same folder.

    Args:
        overrides: as on the command line, without the shell's quoting.

    Raises:
        ConfigError: an override is wrong; the message is the paragraph the command line would print.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.utils import setup_globals

    from kinnari.tasks.config_errors import explain, is_users_mistake, spot_mistakes

    # Hydra registers the resolver `now` when an application starts; the Compose API does not (hydra 1.3.8).
    setup_globals()
    # A notebook may be inside another application of Hydra, or have called `initialize` before.
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        spot_mistakes(overrides)
        with initialize_config_dir(str(conf_folder()), version_base="1.3", job_name="kinnari"):
            cfg = hydra_compose("config", overrides=list(overrides))
    except Exception as problem:
        if not is_users_mistake(problem):
            raise
        raise ConfigError(explain(problem)) from None
    finally:
        GlobalHydra.instance().hydra = outer
    cfg.output_dir = str(Path(cfg.output_dir).absolute())
    return cfg
