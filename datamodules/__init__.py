"""Instruction sources as Lightning datamodules. Where a record goes:

sources/<name>.py   raw rows -> kinnari.text.conversation.Conversation      (one small file per source)
kinnari/text/template.py    conversation -> segments (text, trained?)
kinnari/text/tokens.py      segments -> input_ids and loss mask
kinnari/text/plan.py        records -> optimizer steps (order, packing, ranks)
kinnari/text/batches.py     rows -> the batch contract
instruction.py      ties them together for `trainer.fit`
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datamodules.instruction import InstructionDataModule
    from datamodules.preference import PreferenceDataModule

_FILES = {"InstructionDataModule": "instruction", "PreferenceDataModule": "preference"}
__all__ = ["InstructionDataModule", "PreferenceDataModule"]


def __getattr__(name: str) -> Any:
    # sources are read without Lightning, which takes a second to import
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
