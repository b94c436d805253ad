"""PanGu-alpha for transformers: importing this registers its config, model and tokenizer with the Auto classes, without remote code.

import kinnari.models.pangu
model = AutoModelForCausalLM.from_pretrained("sunzeyeah/pangu-350M")
"""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from kinnari.models.pangu.configuration import PanguConfig
from kinnari.models.pangu.modeling import PanguForCausalLM, PanguModel, PanguPreTrainedModel
from kinnari.models.pangu.tokenization import GPTPanguTokenizer, PanguTokenizer

__all__ = ["GPTPanguTokenizer", "PanguConfig", "PanguForCausalLM", "PanguModel", "PanguPreTrainedModel", "PanguTokenizer"]

AutoConfig.register("pangu", PanguConfig, exist_ok=True)
AutoModel.register(PanguConfig, PanguModel, exist_ok=True)
AutoModelForCausalLM.register(PanguConfig, PanguForCausalLM, exist_ok=True)
# the public config.json names the tokenizer GPTPanguTokenizer; both names are then known
AutoTokenizer.register(PanguConfig, PanguTokenizer, slow_tokenizer_class=GPTPanguTokenizer, exist_ok=True)
