"""What a result depends on, as text that can be hashed: values, files, code, tokenizers."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import importlib
import json
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from kinnari.models.cache import file_sha256

# Packages whose code decides what is kept and what the tokens are.
CODE = ("kinnari.text", "kinnari.cleaning", "kinnari.preparation")


class Unknowable(Exception):
    """Something shapes the result and has no content that could be hashed, so the result must not be found again."""


def digest(values: Any) -> str:
    """Hex SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def described(value: Any) -> Any:
    """A source, a step, a template or a value as plain data: its class, the code of its module, and its fields.

    A `fingerprint` that it declares (a text: with the hash of a word list, say) is part of it, and may stand for the fields of what is no
    dataclass.

    Raises:
        Unknowable: for what is made of anything but plain values, or of a class without a file (defined in a notebook).
    """
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, bytes | np.ndarray):
        return hashlib.sha256(bytes(value)).hexdigest()
    if isinstance(value, Path | enum.Enum | np.generic):
        return str(value)
    if isinstance(value, Mapping):
        return {"mapping": [[described(k), described(v)] for k, v in value.items()]}
    if isinstance(value, set | frozenset):
        return {"set": sorted(json.dumps(described(v)) for v in value)}
    if isinstance(value, list | tuple):
        return [described(v) for v in value]
    declared = getattr(value, "fingerprint", None)
    is_record = dataclasses.is_dataclass(value) and not isinstance(value, type)
    if not is_record and declared is None:
        raise Unknowable(f"{type(value).__qualname__} is no dataclass of plain values")
    fields = {field.name: described(getattr(value, field.name)) for field in dataclasses.fields(value)} if is_record else {}
    return {
        "class": f"{type(value).__module__}.{type(value).__qualname__}",
        "code": [module_sha256(base.__module__) for base in type(value).__mro__ if base.__module__ not in ("builtins", "abc", "typing")],
        "fields": fields,
        "declares": described(declared),
    }


def without(description: Any, *fields: str) -> Any:
    """A description that some fields do not matter to."""
    return description | {"fields": {name: value for name, value in description["fields"].items() if name not in fields}}


def module_sha256(name: str) -> str:
    """Of the file of a module.

    Raises:
        Unknowable: if it has none, as the main program of a notebook.
    """
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None or not Path(file).is_file():
        raise Unknowable(f"{name} has no file")
    return file_sha256(Path(file))


def code_sha256(packages: Iterable[str]) -> str:
    """Of all python files of packages, so that an edited rule never meets what the old one made."""
    files = [file for name in packages for folder in importlib.import_module(name).__path__ for file in sorted(Path(folder).rglob("*.py"))]
    return digest([[file.name, file_sha256(file)] for file in files])


def tokenizer_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """Of vocabulary, merges, normalisation, special tokens and chat template, wherever the tokenizer was loaded from."""
    specials = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    parts: list[Any] = [type(tokenizer).__name__, specials, tokenizer.chat_template, version("tokenizers"), version("transformers")]
    if tokenizer.is_fast:
        text = tokenizer.backend_tokenizer.to_str()  # type: ignore[attr-defined]
        # Truncation and padding come first in it; they change with every call and shape no token here.
        content = text[text.index('"added_tokens"') :].encode()
    else:
        files = [Path(str(file)) for file in tokenizer.init_kwargs.values() if isinstance(file, str | Path) and Path(str(file)).is_file()]
        content = json.dumps([sorted(tokenizer.get_vocab().items()), [file_sha256(file) for file in files]]).encode()
    return digest([*parts, hashlib.sha256(content).hexdigest()])
