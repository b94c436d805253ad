"""GLM-chinese for transformers: importing this package makes AutoConfig, AutoModel, AutoModelForCausalLM and AutoTokenizer know it.

The public config.json, which calls the model `glm` as transformers calls another architecture, is read as what it is.
"""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.tokenization_auto import REGISTERED_TOKENIZER_CLASSES

from kinnari.models.glm.configuration import PUBLIC_TYPE, EitherGlm, GLMConfig
from kinnari.models.glm.modeling import GLMForConditionalGeneration, GLMModel
from kinnari.models.glm.tokenization import GLMTokenizer

AutoConfig.register(GLMConfig.model_type, GLMConfig, exist_ok=True)
CONFIG_MAPPING.register(PUBLIC_TYPE, EitherGlm, exist_ok=True)  # type: ignore[arg-type]  # stands in for either class
AutoModel.register(GLMConfig, GLMModel, exist_ok=True)
AutoModelForCausalLM.register(GLMConfig, GLMForConditionalGeneration, exist_ok=True)
AutoTokenizer.register(GLMConfig, slow_tokenizer_class=GLMTokenizer, exist_ok=True)
REGISTERED_TOKENIZER_CLASSES["GLMChineseTokenizer"] = GLMTokenizer  # its name in the public tokenizer_config.json

__all__ = ["GLMConfig", "GLMForConditionalGeneration", "GLMModel", "GLMTokenizer"]
