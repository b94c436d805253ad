"""Damage of every kind done to valid rows: wrong types, missing keys, deep nesting, huge strings, NUL, lone surrogates, broken bytes."""

from __future__ import annotations

import copy
import csv
import io
import json
import random
from collections.abc import Sequence
from typing import Any

DEEP = 100_000  # levels, far beyond what Python can recurse into


def nested(levels: int) -> Any:
    value: Any = "core"
    for _ in range(levels):
        value = [value]
    return value


ODD = [
    None, True, 0, -1, 3.5, 1e308, float("nan"), 10**40, "", " ", "\n\n", "\x00", "a\x00b", "\ud800", "x\udfffy", "🙂\u200d", "\u2028",
    [], {}, [[]], [None], ["text"], [{}], {"": ""}, {"from": None}, {"role": []}, nested(50), nested(300), "ก" * 20_000, "a " * 100_000,
    "<human>:", "<bot>: <human>: <context>:", "Human:\nAssistant:", "### Human: ### Assistant:", "{content}", "nan", "<nooutput>",
]  # fmt: skip


def mutated(row: Any, draw: random.Random) -> Any:
    """A copy of `row` with one to three places changed."""
    row = copy.deepcopy(row)
    for _ in range(draw.randint(1, 3)):
        row = _once(row, draw)
    return row


def _once(value: Any, draw: random.Random) -> Any:
    if isinstance(value, dict) and value and draw.random() < 0.8:
        key = draw.choice(list(value))
        action = draw.random()
        if action < 0.15:
            del value[key]
        elif action < 0.25:
            value[draw.choice([key.upper(), key + " ", "other", ""])] = value.pop(key)
        else:
            value[key] = _once(value[key], draw)
        return value
    if isinstance(value, list) and value and draw.random() < 0.8:
        place = draw.randrange(len(value))
        action = draw.random()
        if action < 0.2:
            del value[place]
        elif action < 0.4:
            value.insert(place, copy.deepcopy(draw.choice(value)))
        else:
            value[place] = _once(value[place], draw)
        return value
    if isinstance(value, str) and draw.random() < 0.3:
        place = draw.randint(0, len(value))
        return value[:place] + str(draw.choice([odd for odd in ODD if isinstance(odd, str)])) + value[place:]
    return copy.deepcopy(draw.choice(ODD))


def damaged(line: bytes, draw: random.Random) -> bytes:
    """A line with its bytes changed: one exchanged, cut, doubled, or something put in."""
    place = draw.randint(0, len(line))
    action = draw.randrange(6)
    if action == 0:
        return line[:place] + bytes([draw.randrange(256)]) + line[place + 1 :]
    if action == 1:
        return line[:place]
    if action == 2:
        return line[:place] + line[place // 2 :]
    if action == 3:
        return b"[" * DEEP + line
    return line[:place] + draw.choice([b"\xff\xfe", b"\x00", b"\r", b'"', b"\xed\xa0\x80", b"\\ud800", b"}", b"\xc3"]) + line[place:]


def damaged_file(rows: Sequence[Any], suffix: str, count: int, draw: random.Random) -> bytes:
    """The rows as they are, then `count` damaged ones, in a file of that kind."""
    # What is left of a damaged list is asked in tests/datamodules/reading/test_json_rows.py; here each row shall be one.
    header, lines = b"", []
    if suffix == ".csv":
        columns = list(rows[0])
        header = _csv([columns])
        lines = [_csv([[str(row.get(c, "")) for c in columns]]) for row in rows]
        for _ in range(count):
            row = mutated(draw.choice(rows), draw)
            row = row if isinstance(row, dict) else {}
            lines.append(_csv([[str(row.get(c, ""))[:50_000] for c in columns]]))
    elif suffix == ".txt":
        lines = [str(row).encode() + b"\n" for row in rows]
        lines += [str(mutated(draw.choice(rows), draw))[:50_000].encode("utf-8", "surrogatepass") + b"\n" for _ in range(count)]
    else:
        lines = [json.dumps(row).encode() + b"\n" for row in rows]
        lines += [_json(mutated(draw.choice(rows), draw), draw) for _ in range(count)]
    whole = len(rows)
    return header + b"".join(lines[:whole] + [damaged(line, draw) if draw.random() < 0.2 else line for line in lines[whole:]])


def _json(value: Any, draw: random.Random) -> bytes:
    return json.dumps(value, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass") + b"\n"


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")
