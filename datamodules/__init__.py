"""Instruction sources as Lightning datamodules. Where a record goes:

sources/<name>.py   raw rows -> kinnari.text.conversation.Conversation      (one small file per source)
kinnari/text/template.py    conversation -> segments (text, trained?)
kinnari/text/tokens.py      segments -> input_ids and loss mask
kinnari/text/plan.py        records -> optimizer steps (order, packing, ranks)
kinnari/text/batches.py     rows -> the batch contract
instruction.py      ties them together for `trainer.fit`
"""

from datamodules.instruction import InstructionDataModule
from datamodules.preference import PreferenceDataModule

__all__ = ["InstructionDataModule", "PreferenceDataModule"]
