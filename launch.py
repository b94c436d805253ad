"""The one command: python launch.py model=xglm7b strategy=lora hw=v100x4

A Hydra configuration becomes one task, and the task's metric is returned to the sweeper. Nothing heavy is imported to compose,
print or complete a configuration.
"""

import logging
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import get_method
from omegaconf import DictConfig

from kinnari.errors import RankFailed, RunStopped
from kinnari.tasks.compose import conf_folder
from kinnari.tasks.config_errors import explain, is_users_mistake, spot_mistakes

log = logging.getLogger(__name__)

# conf/hydra/launcher/submitit_slurm.yaml adds our settings to the launcher's own of that name, which hydra 1.3 still does and
# announces with a warning that no user can act on.
warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/submitit_slurm' is validated against ConfigStore")
TRACEBACK_WANTED = os.environ.get("HYDRA_FULL_ERROR") == "1"


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
def launch(cfg: DictConfig) -> Any:
    """Run the task that `task=` chose."""
    try:
        if cfg.task.name == "list":  # looks at files alone: no output folder, no result.json, nothing heavy imported
            return get_method(cfg.task._target_)(cfg)["choices"]
        from kinnari.tasks.run import run

        return run(cfg)
    except Exception as problem:
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            if is_users_mistake(problem):
                leave_no_empty_run(Path(HydraConfig.get().runtime.output_dir))
            stop(problem)
        # Now: Hydra tells of it only after the last trial.
        if is_users_mistake(problem):
            log.error(explain(problem))
        else:
            log.error("trial %s failed: %s", HydraConfig.get().job.num, problem, exc_info=not isinstance(problem, RankFailed | RunStopped))
        raise


def leave_no_empty_run(folder: Path) -> None:
    """Remove the folder of a run that was refused before it wrote anything but Hydra's copy of the configuration and an empty log."""
    kept = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    nothing_told = all(log_file.stat().st_size == 0 for log_file in folder.glob("launch.log"))
    if ".hydra" in kept and kept <= {".hydra", "launch.log"} and nothing_told:
        shutil.rmtree(folder)


def stop(problem: Exception) -> NoReturn:
    """Exit with one paragraph and status 2 if the user can mend it, 1 if the run cannot go on; a defect keeps its traceback."""
    if isinstance(problem, RankFailed):
        sys.exit(problem.status)  # the rank has told why
    mistake = is_users_mistake(problem)
    if TRACEBACK_WANTED or not (mistake or isinstance(problem, RunStopped)):
        raise problem
    print(explain(problem), file=sys.stderr)
    sys.exit(2 if mistake else 1)


def sweep_first(words: list[str]) -> list[str]:
    """The command line with -m in front: argparse takes no overrides behind a flag that stands among them (python 3.11 to 3.13)."""
    return sorted(words, key=lambda word: word not in ("-m", "--multirun"))


def asked_about_itself(words: list[str]) -> str | None:
    """The answer to --version and to a shell's Tab key, which need no configuration of a run."""
    if "--version" in words:
        from kinnari.tasks.version import version_lines

        return "\n".join(version_lines())
    if words[:1] in (["-sc"], ["--shell-completion"]) and len(words) == 2:
        from kinnari.tasks.shell_completion import answer

        return answer(words[1], os.environ.get("COMP_LINE", ""))
    return None


def main() -> None:
    """The console command."""
    told = asked_about_itself(sys.argv[1:])
    if told is not None:
        print(told)
        return
    # Hydra would print its own account of a mistake and exit with 1; with this it raises, and the exception is judged here.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv[1:] = sweep_first(sys.argv[1:])
    try:
        spot_mistakes(sys.argv[1:])
        launch()
    except Exception as problem:
        stop(problem)


if __name__ == "__main__":
    main()
