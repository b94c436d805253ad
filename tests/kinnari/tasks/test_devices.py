"""A machine without the GPUs of its profile is told at once."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kinnari.errors import ConfigError
from kinnari.tasks import devices
from kinnari.tasks.compose import compose
from kinnari.tasks.devices import check_devices, check_packages
from kinnari.tasks.run import run

ROOT = Path(__file__).resolve().parents[3]


def test_a_machine_without_the_gpus_of_its_profile_is_told_what_to_do(monkeypatch):
    four = compose(["model=tiny_causal", "strategy=lora", "hw=v100x4"])
    for here, said in ((0, "asks for 4 GPUs, and this machine has none. Take hw=cpu"), (2, "has 2")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda here=here: here)
        with pytest.raises(ConfigError, match=said):
            check_devices(four, ranks=True)
    check_devices(four, ranks=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    check_devices(four, ranks=True)


def test_what_needs_no_device_asks_for_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for words in (["task=prepare", "hw=v100x4"], ["task=plan", "hw=a100x8"], ["hw=cpux2"]):
        check_devices(compose(["model=tiny_causal", *words]), ranks=True)


def test_nothing_is_written_for_a_run_that_cannot_start(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match="hw=v100x1 asks for 1 GPU, and"):
        run(compose(["model=tiny_causal", "hw=v100x1", f"output_dir={tmp_path}/run"]))
    assert not (tmp_path / "run").exists()


def test_a_logger_whose_package_is_missing_is_told_before_anything_is_loaded(monkeypatch):
    cfg = compose(["model=tiny_causal", "logger=wandb"])
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'kinnari\[wandb\]'. Or take logger=csv"):
        check_packages(cfg)
    monkeypatch.setattr(devices, "find_spec", lambda name: name)
    check_packages(cfg)


def test_an_unknown_country_is_told_before_anything_is_loaded():
    with pytest.raises(ConfigError, match="country=Atlantis"):
        check_packages(compose(["model=tiny_causal", "callbacks=[default,energy]", "plan.country=Atlantis"]))
    check_packages(compose(["model=tiny_causal", "callbacks=[default,energy]"]))
    check_packages(compose(["model=tiny_causal", "callbacks=[default,energy]", "plan.country=Atlantis", "plan.kg_per_kwh=0.1"]))


@pytest.mark.parametrize(
    ("words", "here", "said"),
    [([], ("fastapi", "uvicorn"), "task=serve needs gradio: pip install 'kinnari[serve]'. The API alone does without gradio"),
     ([], (), "task=serve needs fastapi and uvicorn and gradio: pip install 'kinnari[serve]'."),
     (["serve.page=false"], ("gradio",), "task=serve needs fastapi and uvicorn: pip install 'kinnari[serve]'.")],
)  # fmt: skip
def test_a_service_without_its_packages_is_told_before_anything_is_loaded(monkeypatch, words, here, said):
    cfg = compose(["task=serve", "model=tiny_causal", *words])
    monkeypatch.setattr(devices, "find_spec", lambda name: name if name in here else None)
    with pytest.raises(ConfigError, match=re.escape(said)):
        check_packages(cfg)
    monkeypatch.setattr(devices, "find_spec", lambda name: None if words and name == "gradio" else name)
    check_packages(cfg)


def test_a_missing_package_is_told_before_torch_is_imported(tmp_path):
    """The command of a user who has installed Kinnari without its extra."""
    program = (
        "import importlib.util, sys\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, package=None: None if name == 'gradio' else real(name, package)\n"
        "import atexit; atexit.register(lambda: print('torch imported:', 'torch' in sys.modules))\n"
        "import launch; launch.main()\n"
    )
    words = ["task=serve", "model=tiny_causal", f"output_dir={tmp_path}/run"]
    ended = subprocess.run([sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (2, "torch imported: False\n"), ended.stderr
    assert "pip install 'kinnari[serve]'" in ended.stderr and not (tmp_path / "run").exists()
