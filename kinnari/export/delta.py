"""Fine-tuned weights published as differences from their base, without the base.

As Stanford Alpaca published its weights (tuned minus raw, with a sum to check recovery), but exact: differences are counted in
representable numbers (`kinnari.export.bit_steps`), so that `recover_delta` gives back the tuned files byte for byte, whatever the dtypes.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from kinnari.errors import ConfigError
from kinnari.export.bit_steps import same_bits, starting_point, steps_between
from kinnari.export.delta_manifest import NAME, Manifest, TensorRecord
from kinnari.export.folder import written_whole
from kinnari.export.weight_files import INDEX, Place, WeightFolder, bytes_of, checksum, file_checksum, keep_apart, plain_name
from kinnari.models.gguf import converted_from
from kinnari.text.progress import progress_line

log = logging.getLogger(__name__)

# What lies beside weights: configuration, tokenizer, template, card. Everything else might be weights and is left out.
SIDE_SUFFIXES = (".json", ".jsonl", ".jinja", ".txt", ".model", ".vocab", ".tiktoken", ".md", ".yaml", "")
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "shared.weight")
_TIED_TO_EMBEDDINGS = (*_EMBEDDINGS, "lm_head.weight", "embed_out.weight")


@dataclass(frozen=True)
class DeltaReport:
    """What a delta holds.

    Attributes:
        folder: where it is.
        base: name of the base as published.
        changed: tensors stored as differences.
        unchanged: tensors left out, being those of the base.
        whole: names of tensors stored whole, having no counterpart in the base.
        size_bytes: bytes of the delta's safetensors files.
        tuned_bytes: bytes of the tuned weights.
    """

    folder: Path
    base: str
    changed: int
    unchanged: int
    whole: tuple[str, ...]
    size_bytes: int
    tuned_bytes: int


def publish_delta(
    tuned: Path, base: Path, folder: Path, shard_size: str = "2GB", *, base_name: str | None = None, revision: str | None = None
) -> DeltaReport:
    """Writes `tuned` as differences from `base`: safetensors shards, kinnari_delta.json, and the tuned folder's other files.

    Tensor by tensor, at most one shard in memory. No number of the base is written: unchanged tensors are left out.

    Args:
        tuned: Hugging Face folder of safetensors.
        base: folder of the model it was tuned from, in any dtype.
        folder: where to write; a model folder there is replaced.
        shard_size: such as 400MB; a larger tensor has a shard of its own.
        base_name: what others know the base as; None takes hub id and revision from the hub's cache, else the name of the
            GGUF file or the folder.
        revision: the base's revision on the hub.

    Raises:
        ConfigError: a folder without readable weights, two models that have nothing to do with each other, or `folder` is one of them.
    """
    keep_apart(Path(folder), Path(tuned), Path(base))
    tuned_weights, base_weights = WeightFolder(tuned), WeightFolder(base)
    counterparts = {name: counterpart(name, tuned_weights, base_weights) for name in tuned_weights.places}
    _refuse_strangers(tuned_weights, base_weights, counterparts)
    name, known_revision = published_name(base_weights.folder)
    if base_name is not None:
        name, known_revision = base_name, revision
    records: dict[str, TensorRecord] = {}

    def write(work: Path) -> None:
        records.update(_write_shards(tuned_weights, base_weights, counterparts, work, bytes_of(shard_size)))
        _copy_side_files(tuned_weights, work)
        index = tuned_weights.folder / INDEX
        text = index.read_bytes().decode("utf-8") if index.is_file() else None
        files = {path.name: file_checksum(path) for path in sorted(work.iterdir())}
        Manifest(name, known_revision, records, tuned_weights.headers, text, files).write(work)

    return _report(written_whole(Path(folder), write), name, records, tuned_weights.size_bytes)


def _report(folder: Path, base: str, records: Mapping[str, TensorRecord], tuned_bytes: int) -> DeltaReport:
    kinds = [record.kind for record in records.values()]
    whole = tuple(name for name, record in records.items() if record.kind == "whole")
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    report = DeltaReport(folder, base, kinds.count("steps"), kinds.count("unchanged"), whole, size, tuned_bytes)
    log.info("Delta to %s in %s: %d tensors changed, %d unchanged and left out, %d whole; %.0f MB for %.0f MB.",
             base, folder, report.changed, report.unchanged, len(whole), size / 1e6, tuned_bytes / 1e6)  # fmt: skip
    if whole:
        log.warning("Stored whole, since the base has no tensor of that name and kind: %s.", ", ".join(whole))
    return report


def counterpart(name: str, tuned: WeightFolder, base: WeightFolder) -> str | None:
    """The base's tensor that a tuned one came from: that of its name, or the embedding where the base ties the head to it.

    None where there is none of the same dimensions (rows aside) and kind of number.
    """
    embeddings = [other for other in base.places if other.endswith(_EMBEDDINGS)] if name.endswith(_TIED_TO_EMBEDDINGS) else []
    candidates = [name] if name in base.places else embeddings
    return next((other for other in candidates if _comparable(tuned.places[name], base.places[other])), None)


def _comparable(tuned: Place, base: Place) -> bool:
    ours, theirs = tuned.torch_dtype, base.torch_dtype
    numbers = ours == theirs or (ours.is_floating_point and theirs.is_floating_point)
    return numbers and len(tuned.shape) == len(base.shape) and tuned.shape[1:] == base.shape[1:]


def published_name(folder: Path) -> tuple[str, str | None]:
    """(name, revision) of a folder: the hub's where it lies in the hub's cache, else the GGUF file's or its own, and None."""
    found = re.search(r"models--(.+?)--(.+)/snapshots/([0-9a-f]{40})$", folder.absolute().as_posix())
    if found:
        return f"{found[1]}/{found[2]}", found[3]
    return converted_from(folder.absolute()) or folder.absolute().name, None


def _refuse_strangers(tuned: WeightFolder, base: WeightFolder, counterparts: Mapping[str, str | None]) -> None:
    """A delta to another model's weights, or to weights under other names, would be the tuned model itself."""
    alone = [name for name, other in counterparts.items() if other is None]
    size = sum(tuned.places[name].stop - tuned.places[name].start for name in alone)
    if 2 * size > tuned.size_bytes:
        raise ConfigError(
            f"{base.folder} is not the base of {tuned.folder}: {len(alone)} of {len(counterparts)} tensors, such as {alone[0]}, have no "
            "counterpart in it, and the delta would hold them whole. Give the folder of the model that was tuned; where only names "
            "differ, write it once with from_pretrained and save_pretrained."
        )


def _write_shards(
    tuned: WeightFolder, base: WeightFolder, counterparts: Mapping[str, str | None], work: Path, most: int
) -> dict[str, TensorRecord]:
    """One pass over the tuned tensors; a shard is written as soon as the next tensor would make it larger than `most` bytes."""
    records: dict[str, TensorRecord] = {}
    shard: dict[str, Tensor] = {}
    held, number, done = 0, 1, 0
    with progress_line("writing the delta", tuned.size_bytes) as advance:
        for name, place in tuned.places.items():
            record, stored = _difference(name, tuned, base, counterparts[name])
            if stored is not None:
                if shard and held + stored.nbytes > most:
                    save_file(shard, work / _shard_name(number))
                    shard, held, number = {}, 0, number + 1
                shard[name], held = stored, held + stored.nbytes
                record = replace(record, file=_shard_name(number))
            records[name] = record
            done += place.stop - place.start
            advance(done)
        if shard:
            save_file(shard, work / _shard_name(number))
    return records


def _shard_name(number: int) -> str:
    return f"delta-{number:05}.safetensors"


def _difference(name: str, tuned: WeightFolder, base: WeightFolder, other: str | None) -> tuple[TensorRecord, Tensor | None]:
    """The record of a tensor, and what is stored of it."""
    end = tuned.tensor(name)
    if other is None:
        return TensorRecord("whole", checksum(end)), end
    origin = base.tensor(other)
    start = starting_point(origin, tuple(end.shape), end.dtype)
    assert start is not None, "counterparts are comparable"
    sums = {"sha256": checksum(end), "base": other, "base_sha256": checksum(origin)}
    if same_bits(start, end):
        return TensorRecord("unchanged", **sums), None
    return TensorRecord("steps", **sums), steps_between(start, end)


def _copy_side_files(tuned: WeightFolder, work: Path) -> None:
    left_out = []
    for path in sorted(tuned.folder.iterdir()):
        if path.name in (INDEX, NAME) or path.name in tuned.headers:
            continue
        if path.is_file() and path.suffix.lower() in SIDE_SUFFIXES and plain_name(path.name):
            shutil.copyfile(path, work / path.name)
        else:
            left_out.append(path.name)
    if left_out:
        log.warning("Not published, being neither the model's safetensors nor text: %s.", ", ".join(left_out))
