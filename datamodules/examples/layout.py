"""Example rows as the files in which a source finds them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Layout:
    """What `path` of a source names.

    Attributes:
        suffix: .jsonl, .json (one list) or .csv (a heading of the first row's keys); of `rows`.
        rows: of a single file.
        files: of a folder instead: relative path -> text.
    """

    suffix: str = ".jsonl"
    rows: Sequence[Any] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    def write(self, place: Path) -> Path:
        """The file `place` with the suffix, or the folder `place`; its parent must be there."""
        if self.files:
            for name, text in self.files.items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_text(text, encoding="utf-8")
            return place
        path = place.with_name(place.name + self.suffix)
        with path.open("w", encoding="utf-8", newline="") as stream:
            if self.suffix == ".csv":
                table = csv.DictWriter(stream, list(self.rows[0]))
                table.writeheader()
                table.writerows(self.rows)
            elif self.suffix == ".json":
                json.dump(self.rows, stream, ensure_ascii=False)
            else:
                stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows)
        return path
