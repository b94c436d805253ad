"""The folder of a base model, wherever it is: local, on the hub, or in a GGUF file."""

from __future__ import annotations

import logging
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from kinnari.errors import ConfigError
from kinnari.models.gguf import convert_gguf

log = logging.getLogger(__name__)


def base_folder(source: str, revision: str | None = None) -> Path:
    """The folder of `source`: a folder, a .gguf file (converted into the cache) or a hub id, of which safetensors and JSON are fetched.

    Args:
        source: as `model.path`.
        revision: commit or branch on the hub; None for the newest.

    Raises:
        ConfigError: no such folder or file, or the hub does not give it.
    """
    local = Path(source).expanduser()
    if local.is_dir():
        return local
    if local.suffix == ".gguf" and local.is_file():
        return convert_gguf(local)
    if source.startswith((".", "/", "~")) or local.suffix == ".gguf":
        raise ConfigError(f"The base {source} does not exist. Give an existing folder, a .gguf file or a hub id.")
    log.info("fetching %s from the hub, unless it is in its cache", source)
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=["*.safetensors", "*.json"]))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(
            f"The base {source} cannot be had from the hub ({type(error).__name__}: {reason}). Without a network copy its folder here "
            "and give that; log in with `hf auth login` if the model asks for its terms."
        ) from error
