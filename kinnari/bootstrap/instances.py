"""Inputs and outputs for instructions that have none: is it classification, then examples, then the rules of what is kept.

    other tasks, input first                      classification, output first
    Task: Rewrite the sentence in the past.       Task: Is the review positive or negative?
    Example 1                                     Class label: positive
    Input: I go to school.                        Input: The soup was wonderful.
    Output: I went to school.                     Class label: negative
    Example 2 ...                                 ...

With the output first a model does not write ten inputs of one label. The examples of a prompt are the user's own seed tasks.

Source of the stages and rules: yizhongw/self-instruct, identify_clf_or_not.py, generate_instances.py, prepare_for_finetuning.py.
Wording is ours. Rows are not turned into prompt and completion here: templates (`model/template=`) do that in training.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence

from kinnari.bootstrap.alpaca import NO_INPUT
from kinnari.bootstrap.candidates import Candidate, Rejected
from kinnari.bootstrap.seeds import Instance, SeedTask
from kinnari.completion.completer import Completion

SHUFFLE_SEED = 123
# Spaces but no newlines: `^\s*` would read a long run of empty lines once from each of them.
_EXAMPLE = re.compile(r"^[ \t]*Example ?\d*[ \t]*[.:]?[ \t]*$", re.MULTILINE)
_OUTPUT = re.compile(r"^[ \t]*Output ?\d*[ \t]*:", re.MULTILINE)
_LABEL = re.compile(r"^[ \t]*Class label[ \t]*:", re.MULTILINE)
_INPUT = re.compile(r"^\s*Input\s*\d*\s*:\s*")


def classification_prompt(header: str, seeds: Sequence[SeedTask], instruction: str, shown: int) -> str:
    """Up to `shown` seeds of each kind with their answer, Yes or No, and the question for `instruction`."""
    yes = [seed for seed in seeds if seed.is_classification][:shown]
    no = [seed for seed in seeds if not seed.is_classification][:shown]
    pairs = [seed for both in zip(no, yes, strict=False) for seed in both] + no[len(yes) :] + yes[len(no) :]
    examples = "".join(f"Task: {seed.instruction}\nClassification? {'Yes' if seed.is_classification else 'No'}\n\n" for seed in pairs)
    return f"{header.strip()}\n\n{examples}Task: {instruction}\nClassification?"


def read_classification(completion: Completion) -> bool:
    """Whether the answer begins with yes."""
    return re.match(r"\W*yes\b", completion.text, re.IGNORECASE) is not None


def instances_prompt(header: str, seeds: Sequence[SeedTask], instruction: str, classification: bool, shown: int) -> str:
    """Up to `shown` seeds of the kind with their instances, and the beginning of those of `instruction`."""
    kind = [seed for seed in seeds if seed.is_classification == classification][:shown]
    examples = "".join(f"Task: {seed.instruction}\n{_shown(seed, classification)}\n" for seed in kind)
    return f"{header.strip()}\n\n{examples}Task: {instruction}\n{'Class label:' if classification else 'Example 1'}"


def _shown(seed: SeedTask, classification: bool) -> str:
    if classification:
        return "".join(f"Class label: {i.output}\nInput: {i.input or NO_INPUT}\n" for i in seed.instances)
    return "".join(
        f"Example {number}\n" + (f"Input: {i.input}\n" if i.input else "") + f"Output: {i.output}\n"
        for number, i in enumerate(seed.instances, 1)
    )


def read_instances(completion: Completion, classification: bool) -> list[Instance | Rejected]:
    """Every instance of the answer; the last one is rejected as `cut` where `max_tokens` ended it."""
    text = completion.text
    border = _LABEL if classification else _EXAMPLE
    begun = f"Class label:{text}" if classification and not _LABEL.match(text) else text
    pieces = [piece for piece in border.split(begun) if piece.strip()]
    read = _labelled if classification else _with_output
    found: list[Instance | Rejected] = [read(piece) for piece in pieces]
    if completion.finish_reason == "length" and found:
        found[-1] = Rejected("cut", pieces[-1].strip())
    return found


def _with_output(piece: str) -> Instance | Rejected:
    parts = _OUTPUT.split(piece, maxsplit=1)
    if len(parts) != 2:
        return Rejected("malformed", piece.strip())
    return Instance(_without_mark(parts[0]), parts[1].strip())


def _labelled(piece: str) -> Instance | Rejected:
    label, _, rest = piece.strip().partition("\n")
    given = _without_mark(rest)
    return Instance(given, label.strip()) if given else Rejected("no_input", piece.strip())


def _without_mark(text: str) -> str:
    given = _INPUT.sub("", text.strip()).strip()
    return "" if given.lower() in (NO_INPUT, "none") else given


def keep_instances(instances: Iterable[Instance], most: int = 5) -> tuple[list[Instance], list[tuple[Instance, str]]]:
    """The instances of one task that are trained on, and the others with the rule that they break."""
    instances = list(instances)
    outputs: dict[str, set[str]] = {}
    for instance in instances:
        outputs.setdefault(instance.input, set()).add(instance.output)
    kept: list[Instance] = []
    dropped: list[tuple[Instance, str]] = []
    for instance in instances:
        reason = _broken_rule(instance, outputs, kept, most)
        if reason:
            dropped.append((instance, reason))
        else:
            kept.append(instance)
    return kept, dropped


def _broken_rule(instance: Instance, outputs: dict[str, set[str]], kept: list[Instance], most: int) -> str | None:
    if not instance.output:
        return "no_output"
    if instance.input == instance.output:
        return "output_is_input"
    if instance.input.endswith((":", "：")) or instance.output.endswith((":", "：")):
        return "ends_with_colon"
    # Without an input several answers are no contradiction: there is more than one poem about rain.
    if instance.input and len(outputs[instance.input]) > 1:
        return "contradiction"
    if instance in kept:
        return "duplicate"
    return "more_than_enough" if len(kept) >= most else None


def shuffled_rows(tasks: Iterable[tuple[str, Sequence[Instance]]]) -> list[Candidate]:
    """A row per instance, each once, shuffled with the published seed."""
    rows = list(dict.fromkeys(Candidate(instruction, i.input, i.output) for instruction, instances in tasks for i in instances))
    random.Random(SHUFFLE_SEED).shuffle(rows)
    return rows
