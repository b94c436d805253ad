"""The adapter alone, as a PEFT folder that plain `peft` loads."""

from collections.abc import Callable
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from kinnari.errors import ConfigError
from kinnari.export.folder import written_whole


def export_adapter(
    peft_model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    finish: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """Writes the adapter (safetensors), its config and the tokenizer; `PeftModel.from_pretrained` and
    `AutoPeftModelForCausalLM` load it in any process, since its config names the base by hub id or absolute folder.

    Args:
        finish: called with the filled folder before it gets its name, to add a model card.

    Raises:
        ConfigError: the model has no adapter.
    """
    if not isinstance(peft_model, PeftModel):
        raise ConfigError("A fully tuned model has no adapter to export; export the merged folder instead.")

    def write(work: Path) -> None:
        # save_embedding_layers=False: the default asks the hub whether the vocabulary grew; ours never does
        peft_model.save_pretrained(str(work), safe_serialization=True, save_embedding_layers=False)
        (work / "README.md").unlink(missing_ok=True)  # a form to fill in, not a card
        tokenizer.save_pretrained(work)
        finish(work)

    return written_whole(Path(folder), write)
