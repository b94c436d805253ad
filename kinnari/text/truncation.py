"""What happens to a record that has more tokens than allowed.

    source                                  target
    BOS  <human>: Why? <bot>: Because. ...  <bot>:  So it is. EOS
         `- loses its beginning                     `- loses its end

The target is the last answer with its EOS, the source everything before it. The question and the cue stand at the end of
the source, so it loses its beginning, but never BOS. A target loses its end and its EOS with it: no EOS is ever put at a
place where the answer goes on, which would teach the model to stop in mid-sentence. A record that fits keeps its EOS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from kinnari.errors import ConfigError
from kinnari.text.records import Tokens

Truncation = Literal["tail", "longest_first", "drop", "split"]
TOO_LONG = "too_long"


@dataclass(frozen=True)
class Limits:
    """How many tokens a record may have.

    Args:
        max_length: tokens of source and target together; of each, for an encoder-decoder, unless `longest_first`.
        max_source: tokens of the source, BOS included; None for no limit of its own.
        max_target: tokens of the target, EOS included; None for no limit of its own.
        truncation: "tail" cuts a row that is still longer than `max_length` at its end; "longest_first" takes tokens from
            the longer of source and target until both fit; "drop" cuts nothing and leaves out what does not fit; "split" makes
            several rows of a longer one, see `parted`: for documents.

    Raises:
        ConfigError: a limit below what a row needs, or an unknown `truncation`.
    """

    max_length: int
    max_source: int | None = None
    max_target: int | None = None
    truncation: Truncation = "tail"

    def __post_init__(self) -> None:
        if self.truncation not in get_args(Truncation):
            raise ConfigError(f"truncation={self.truncation} is unknown; choose one of {', '.join(get_args(Truncation))}.")
        if self.max_length < 2:
            raise ConfigError(f"max_length={self.max_length} leaves nothing to predict; it must be 2 or more.")
        if self.truncation == "split" and (self.max_source, self.max_target) != (None, None):
            raise ConfigError("truncation=split parts whole rows, so max_source and max_target mean nothing to it; set both to null.")
        for name, value in {"max_source": self.max_source, "max_target": self.max_target}.items():
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value} would leave nothing; set it to 1 or more, or to null for no limit.")

    def sizes(self, source: int, target: int) -> tuple[int, int]:
        """Tokens that source and target of a causal row keep under every rule but "tail", which looks at the row."""
        source = source if self.max_source is None else min(source, self.max_source)
        target = target if self.max_target is None else min(target, self.max_target)
        return longest_first(source, target, self.max_length) if self.truncation == "longest_first" else (source, target)

    def sides(self, source: int, target: int) -> tuple[int, int]:
        """Tokens that source and target of an encoder-decoder record keep; `max_length` is the limit of a side without one."""
        if self.truncation == "longest_first":
            return self.sizes(source, target)
        return min(source, self.max_source or self.max_length), min(target, self.max_target or self.max_length)


def longest_first(source: int, target: int, most: int) -> tuple[int, int]:
    """The longer side loses one token at a time until both have `most` together; of two equal ones the target loses."""
    if source + target <= most:
        return source, target
    kept = min(source, max(-(-most // 2), most - target))
    return kept, most - kept


def parted(tokens: Tokens, limits: Limits) -> list[Tokens]:
    """A row as the rows it is trained in: itself, or with "split" parts of at most `max_length` tokens.

    Each part begins with the last token of the one before, which it does not train: so every token is trained once, with something
    before it, and no part but the last holds the row's EOS. Parts of which nothing is trained are left out.

        a b c d e f, max_length 3  ->  a b c   c d e   e f        trained: b c   d e   f
    """
    ids, trained = np.asarray(tokens.input_ids), np.asarray(tokens.trained)
    if limits.truncation != "split" or len(ids) <= limits.max_length:
        return [tokens]
    parts = []
    for start in range(0, len(ids) - 1, limits.max_length - 1):
        flags = trained[start : start + limits.max_length].copy()
        flags[0] = False
        if flags.any():
            parts.append(Tokens(ids[start : start + limits.max_length], flags))
    return parts


def cut_row(
    ids: np.ndarray, trained: np.ndarray, boundary: int, limits: Limits, *, has_bos: bool, everything: bool
) -> tuple[np.ndarray, np.ndarray, bool] | None:
    """A causal row within its limits.

    Args:
        ids, trained: [T] token ids and loss flags.
        boundary: position of the first token of the last answer; T if there is none.
        has_bos: whether ids[0] is BOS.
        everything: whether prompts are trained too; else what is left of an earlier answer cut in two is not trained.

    Returns:
        ids, trained, and whether anything but text after the last trained token was lost; None if the row is to be dropped.
    """
    end = _end_of_training(trained, boundary)
    source, target = limits.sizes(boundary, end - boundary)
    if source == boundary and target == end - boundary and end <= limits.max_length:
        # all that can go is the text between the EOS and a next turn that does not come
        room = limits.max_length if limits.max_target is None else min(limits.max_length, boundary + limits.max_target)
        return ids[:room], trained[:room], False
    if limits.truncation == "drop":
        return None
    if source < boundary:
        head = 1 if has_bos and source > 1 else 0
        start = boundary - (source - head)
        flags = trained[start:].copy()
        if trained[start - 1] and not everything:
            flags[: _run_length(flags, boundary - start)] = False
        ids, trained = np.concatenate([ids[:head], ids[start:]]), np.concatenate([trained[:head], flags])
    most = min(source + target, limits.max_length)
    return ids[:most], trained[:most], True


def _end_of_training(trained: np.ndarray, boundary: int) -> int:
    """Where the target ends: after the last trained token."""
    places = np.flatnonzero(trained)
    return max(boundary, int(places[-1]) + 1 if len(places) else len(trained))


def _run_length(flags: np.ndarray, most: int) -> int:
    """How many trained tokens `flags` begins with, at most `most`."""
    untrained = np.flatnonzero(~flags)
    return min(int(untrained[0]) if len(untrained) else len(flags), most)
