"""The hub: what is fetched, and what is said where it cannot be; a fake hub stands in for the real one."""

import shutil
import time
from pathlib import Path

import httpx2
import pytest
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from safetensors.torch import load_file, save_file

from kinnari.errors import ConfigError
from kinnari.models import hub
from kinnari.models.load import load_model, load_tokenizer
from kinnari.models.source import model_source
from tests.kinnari.models.specs import toy_spec

COMMIT = "0" * 40


@pytest.fixture(autouse=True)
def empty_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("KINNARI_CACHE", str(tmp_path / "cache"))
    hub.fetch.cache_clear()
    yield
    hub.fetch.cache_clear()


class FakeHub:
    """Answers like `snapshot_download` from a folder, and remembers what was asked."""

    def __init__(self, repository: Path, cache: Path) -> None:
        self.repository, self.folder, self.taken = repository, cache / "models--o--m" / "snapshots" / COMMIT, []

    def __call__(self, name, *, revision, allow_patterns, ignore_patterns):
        assert name == "o/m" and ignore_patterns == ["*/*"] and revision in (None, COMMIT)
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(self.repository.iterdir()):
            if any(file.match(pattern) for pattern in allow_patterns) and not (self.folder / file.name).exists():
                shutil.copyfile(file, self.folder / file.name)
                self.taken.append(file.name)
        return str(self.folder)


@pytest.fixture
def repository(tmp_path):
    folder = shutil.copytree(model_source(toy_spec()), tmp_path / "repository")
    (folder / "kinnari_manifest.json").unlink()
    (folder / "tf_model.h5").write_bytes(b"other weights")
    (folder / "modeling_custom.py").write_text("raise RuntimeError")
    return folder


@pytest.fixture
def fake(repository, tmp_path, monkeypatch):
    fake = FakeHub(repository, tmp_path / "hub")
    monkeypatch.setattr(hub, "snapshot_download", fake)
    return fake


SPEC = toy_spec(toy=None, path="o/m")


def test_a_tokenizer_takes_no_weights_and_a_model_takes_safetensors_alone(fake, repository):
    torch.save(load_file(repository / "model.safetensors"), repository / "pytorch_model.bin")
    load_tokenizer(SPEC)
    assert "tokenizer.json" in fake.taken and "config.json" in fake.taken
    assert not {"model.safetensors", "pytorch_model.bin", "tf_model.h5", "modeling_custom.py"} & set(fake.taken)
    model = load_model(SPEC, dtype=torch.float32)
    assert "model.safetensors" in fake.taken and not {"pytorch_model.bin", "tf_model.h5", "modeling_custom.py"} & set(fake.taken)
    assert model.name_or_path == "o/m" and model.config._commit_hash == COMMIT
    assert torch.equal(model.lm_head.weight, load_file(repository / "model.safetensors")["lm_head.weight"])


def test_a_repository_of_pickled_weights_is_converted_and_keeps_its_name(fake, repository, tmp_path):
    state = load_file(repository / "model.safetensors")
    torch.save(state, repository / "pytorch_model.bin")
    (repository / "model.safetensors").unlink()
    model = load_model(SPEC, dtype=torch.float32)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert model.name_or_path == "o/m" and model.config._commit_hash == COMMIT
    assert Path(model_source(SPEC)).parent == tmp_path / "cache" and Path(model_source(SPEC)).name.startswith("m-")


def test_the_shards_that_the_index_names_are_taken(fake, repository):
    state = load_file(repository / "model.safetensors")
    (repository / "model.safetensors").unlink()
    save_file(state, repository / "part.safetensors", metadata={"format": "pt"})
    save_file(state, repository / "consolidated.safetensors", metadata={"format": "pt"})
    weight_map = ", ".join(f'"{name}": "part.safetensors"' for name in state)
    (repository / "model.safetensors.index.json").write_text(f'{{"metadata": {{}}, "weight_map": {{{weight_map}}}}}')
    load_model(SPEC, dtype=torch.float32)
    assert "part.safetensors" in fake.taken and "consolidated.safetensors" not in fake.taken


def test_a_repository_without_weights_is_told(fake, repository):
    (repository / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"o/m on the hub holds neither model\.safetensors nor pytorch_model\.bin"):
        model_source(SPEC)


def answer(status):
    return httpx2.Response(status, request=httpx2.Request("GET", "https://hub.invalid/api/models/o/m"))


def caused(error, cause):
    error.__cause__ = cause
    return error


FAILURES = {
    "offline": (caused(LocalEntryNotFoundError("x"), OfflineModeIsEnabled("y")), "HF_HUB_OFFLINE=1 forbids it the network"),
    "unreachable": (caused(LocalEntryNotFoundError("x"), httpx2.ConnectError("no route")), r"the hub cannot be reached \(no route\)"),
    "slow": (caused(LocalEntryNotFoundError("x"), httpx2.ConnectTimeout("timed out")), r"cannot be reached \(timed out\)"),
    "proxy": (httpx2.ProxyError("proxy says no"), r"cannot be reached \(proxy says no\)"),
    "absent": (RepositoryNotFoundError("x", response=answer(404)), "the name is wrong, or it is private"),
    "gated": (GatedRepoError("x", response=answer(403)), r"Accept them on its page there, then log in with `hf auth login`"),
    "down": (caused(LocalEntryNotFoundError("x"), HfHubHTTPError("503 busy", response=answer(503))), r"\(503 busy\); try again later"),
    "no id": (HFValidationError("x"), "neither a folder"),
    "full disk": (OSError(28, "No space left on device"), "No space left on device"),
}


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_each_failure_has_its_own_remedy_and_says_where_files_go(failure, monkeypatch):
    error, reason = FAILURES[failure]

    def fail(*arguments, **keywords):
        raise error

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(ConfigError, match=reason) as caught:
        load_tokenizer(SPEC)
    text = str(caught.value)
    assert "hf download o/m --local-dir DIR" in text and "model.path=DIR" in text and "HF_HOME" in text
    assert "\n" not in text


def test_without_a_network_the_error_comes_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nobody listens on the discard port
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"kinnari/absent is not in the cache .* cannot be reached"):
        load_model(toy_spec(toy=None, path="kinnari/absent"), dtype=torch.float32)
    assert time.monotonic() - started < 10
