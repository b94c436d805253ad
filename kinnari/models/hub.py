"""Files of a model on the Hugging Face hub, fetched by exact name; where the hub cannot be reached, where to put them by hand."""

import functools
import logging
from pathlib import Path

import httpx2
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    IncompleteSnapshotError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from kinnari.errors import ConfigError
from kinnari.models.checkpoint_files import LAYOUTS, read_index

log = logging.getLogger(__name__)

# config, index files, tokenizer; a repository often holds the weights in other libraries' formats too, which are left there
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.vocab", "*.jinja", "*.tiktoken")


@functools.lru_cache(maxsize=32)
def fetch(repository: str, *, weights: bool, code: bool) -> Path:
    """Folder in the hub's cache with the files of `repository` that loading needs; downloads what the cache lacks.

    Safetensors are taken where there are any, pickled `pytorch_model*.bin` files only where not.

    Args:
        repository: hub id such as `facebook/xglm-564M`.
        weights: whether the weights are needed, or config and tokenizer alone.
        code: whether to fetch the repository's Python files.

    Raises:
        ConfigError: no network, no such repository, no permission, or a repository without weights; says what to do.
    """
    folder = _snapshot(repository, None, (*SMALL_FILES, "*.py") if code else SMALL_FILES)
    if not weights:
        return folder
    for layout in LAYOUTS:
        sharded = (folder / layout.index).is_file()
        names = tuple(sorted(set(read_index(folder / layout.index).values()))) if sharded else (layout.single,)
        _snapshot(repository, folder.name, names)
        if any((folder / name).is_file() for name in names):
            return folder
    raise ConfigError(
        f"{repository} on the hub holds neither {' nor '.join(layout.single for layout in LAYOUTS)} (nor their shards). Choose a "
        "repository with weights for transformers, or give model.path a .gguf file."
    )


def _snapshot(repository: str, revision: str | None, names: tuple[str, ...]) -> Path:
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(names), ignore_patterns=["*/*"]))
    except (OSError, HFValidationError, httpx2.HTTPError) as error:
        raise ConfigError(f"{_reason(repository, error)} {_by_hand(repository)}") from error


def _reason(repository: str, error: Exception) -> str:
    """What failed and what mends it where there is a network."""
    causes = [error, error.__cause__]
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        return (
            f"The model {repository} is gated: the hub gives it to those who have accepted its terms. Accept them on its page there, then "
            "log in with `hf auth login` (or set HF_TOKEN)."
        )
    if any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
        return (
            f"The hub shows no model {repository}: the name is wrong, or it is private. Correct model.path, or log in with "
            "`hf auth login` (or set HF_TOKEN) as someone who may read it."
        )
    if isinstance(error, HFValidationError):
        return f"model.path={repository} is neither a folder, nor a .gguf file, nor an id of the hub (OWNER/NAME)."
    if isinstance(error, IncompleteSnapshotError):
        return f"The cache holds only a part of {repository}, and the hub cannot be asked for the rest ({_first_line(error)})."
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        return f"{repository} is not in the cache of the hub's library, and HF_HUB_OFFLINE=1 forbids it the network."
    if any(isinstance(cause, HfHubHTTPError) for cause in causes):
        return f"The hub answered the request for {repository} with an error ({_first_line(error.__cause__ or error)}); try again later."
    return (
        f"{repository} is not in the cache of the hub's library, and the hub cannot be reached ({_first_line(error.__cause__ or error)})."
    )


def _by_hand(repository: str) -> str:
    return (
        f"Without a network: on a machine that has one run `hf download {repository} --local-dir DIR`, copy DIR here and set "
        "model.path=DIR (it must hold config.json, the tokenizer's files and *.safetensors); or copy that machine's HF_HOME and set "
        "HF_HOME to it."
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0].strip().rstrip(".")
