"""Where a model's files are: a folder that plain `from_pretrained` accepts, whatever the spec names (hub id, GGUF, package, toy)."""

import hashlib
import importlib
import json
import logging
from pathlib import Path

from transformers import AutoConfig, PreTrainedConfig

from kinnari.errors import ConfigError
from kinnari.models.cache import built_once, cache_root
from kinnari.models.checkpoint_files import PICKLED, check_settings, check_whole, find_weights, read_settings
from kinnari.models.gguf import convert_gguf, find_packaged_gguf
from kinnari.models.hub import fetch
from kinnari.models.pickled import as_safetensors
from kinnari.models.spec import ModelSpec
from kinnari.models.toy import save_toy, toy_settings

log = logging.getLogger(__name__)

# model_type -> the module whose import registers it with the Auto classes; the others are transformers' own
# (`glm` is two architectures: the package of the older one tells their config.json apart)
OWN_FAMILIES = {"pangu": "kinnari.models.pangu", "glm": "kinnari.models.glm", "glm_chinese": "kinnari.models.glm"}


def model_source(spec: ModelSpec, *, seed: int = 0, weights: bool = True) -> str:
    """Absolute folder that plain `from_pretrained` accepts, in this process and in any other on this machine.

    GGUF files, toys and pickled weights become folders in the cache first; a hub id becomes its folder in the hub's cache. An
    explicit `path` wins over `package` and `toy`. With `weights`, their files are there and whole; without, config and tokenizer
    are, which is all that a tokenizer needs and may be a fraction of a download.

    Raises:
        ConfigError: the folder, file, package or hub model cannot be had, or its files are damaged.
    """
    if _is_made_here(spec):
        return str(_made_here(spec, seed))
    folder = _named_folder(spec, weights)
    check_settings(folder)
    if weights:
        found = find_weights(folder)
        check_whole(found)
        if found.layout is PICKLED:
            folder = as_safetensors(folder, found)
            check_whole(find_weights(folder))
    return str(folder)


def published_name(spec: ModelSpec, source: str) -> str:
    """What an adapter or a model card calls the weights: the hub id or the user's folder, not a place in a cache where one is used."""
    if spec.path is None or _is_made_here(spec):
        return source
    return str(Path(spec.path).expanduser().resolve()) if _is_local(spec.path) else spec.path


def _is_made_here(spec: ModelSpec) -> bool:
    return spec.shrunk or spec.path is None or spec.path.endswith(".gguf")


def _made_here(spec: ModelSpec, seed: int) -> Path:
    if spec.path is not None and not spec.shrunk:
        return convert_gguf(Path(spec.path).expanduser())
    if spec.package is not None and not spec.shrunk:
        return convert_gguf(find_packaged_gguf(spec.package))
    register_own_family(str((spec.toy or spec.config or {}).get("model_type")))
    settings = toy_settings(spec)
    kind = spec.name if spec.toy is not None else f"shrunk-{settings['model_type']}"  # models of one shape share their toy
    key = hashlib.sha256(json.dumps([spec.architecture, settings, spec.pad_token, seed], sort_keys=True).encode()).hexdigest()[:16]
    return built_once(cache_root() / f"{kind}-{key}", lambda folder: save_toy(spec, seed, folder))


def _is_local(path: str) -> bool:
    return Path(path).expanduser().is_dir()


def _named_folder(spec: ModelSpec, weights: bool) -> Path:
    path = str(spec.path)
    if _is_local(path):
        return Path(path).expanduser().resolve()
    if path.startswith((".", "/", "~")) or Path(path).exists():
        raise ConfigError(f"model.path={path} does not exist as a folder. Give an existing folder or .gguf file, or a hub id.")
    return fetch(path, weights=weights, code=spec.trust_remote_code)


def register_own_family(model_type: str) -> None:
    """Makes AutoConfig and its like know a family that transformers lacks; imported only here, since that takes seconds."""
    if model_type in OWN_FAMILIES:
        importlib.import_module(OWN_FAMILIES[model_type])


def register_family_of(source: str) -> None:
    """`register_own_family` for the model in a folder."""
    register_own_family(str(read_settings(Path(source) / "config.json").get("model_type")))


def check_remote_code(spec: ModelSpec, source: str, settings_file: str, needed: bool) -> None:
    """Programs that came with a checkpoint run only by the user's word.

    Args:
        settings_file: `config.json` or `tokenizer_config.json`, whose `auto_map` names the programs.
        needed: whether transformers has no class of its own that would do; then the model cannot be loaded without.

    Raises:
        ConfigError: the checkpoint needs its own code and `spec.trust_remote_code` is off.
    """
    path = Path(source) / settings_file
    auto_map = read_settings(path).get("auto_map") if path.is_file() else None
    if not auto_map:
        return
    if spec.trust_remote_code:
        log.warning("%s runs Python code that came with it (model.trust_remote_code=true): %s.", spec.name, auto_map)
    elif needed:
        raise ConfigError(
            f"{published_name(spec, source)} can only be loaded by Python code that came with it ({path.name} names {auto_map}), and "
            "model.trust_remote_code is false: nothing of it was run. Read that code, and set model.trust_remote_code=true to let it run "
            "with all your rights on this machine; or choose a model that transformers knows."
        )


def published_config(spec: ModelSpec) -> PreTrainedConfig | None:
    """The config that a model file's own shapes make, before anything is fetched; None where they say nothing of `spec.path`."""
    if spec.config is None or spec.shrunk or spec.path is None or Path(spec.path).expanduser().exists():
        return None
    shapes = dict(spec.config)
    model_type = str(shapes.pop("model_type"))
    register_own_family(model_type)
    return AutoConfig.for_model(model_type, **shapes)
