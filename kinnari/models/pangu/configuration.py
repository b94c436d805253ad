"""Sizes and rates of a PanGu-alpha model, in the words of the public config.json files."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN


@strict
class PanguConfig(PreTrainedConfig):
    """PanGu-alpha (arXiv 2104.12369), as the public PyTorch checkpoints have it.

    Attributes:
        vocab_size: rows of the token embedding; 40,000, and 40,064 in the 13B model.
        max_position_embeddings: rows of the position embedding and of the query embedding.
        hidden_size: width H.
        num_layers: blocks, the query layer among them; `num_hidden_layers` is the same number.
        num_heads: attention heads; `num_attention_heads` is the same number.
        intermediate_size: width of the MLP; None is 4 H.
        activation_function: of the MLP; "gelu" is the exact one.
        resid_pdrop: dropout after attention and MLP.
        embd_pdrop: dropout after the embeddings.
        attn_pdrop: dropout of the attention weights.
        layer_norm_epsilon: of every LayerNorm.
        initializer_range: standard deviation of new weights.

    Raises:
        StrictDataclassError: values of a wrong type, no layer at all, heads that do not divide the width, an unknown activation, or
            unscaled attention (`scale_attn_weights: false` in a foreign config.json).
    """

    model_type = "pangu"
    keys_to_ignore_at_inference = ("past_key_values",)
    attribute_map = {"num_hidden_layers": "num_layers", "num_attention_heads": "num_heads"}  # noqa: RUF012  as the base class has it

    vocab_size: int = 40000
    max_position_embeddings: int = 1024
    hidden_size: int = 1024
    num_layers: int = 24
    num_heads: int = 16
    intermediate_size: int | None = None
    activation_function: str = "gelu"
    resid_pdrop: float | int = 0.1
    embd_pdrop: float | int = 0.1
    attn_pdrop: float | int = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    scale_attn_weights: bool = True
    use_cache: bool = True
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 9
    pad_token_id: int | None = 6
    tie_word_embeddings: bool = True

    def validate_architecture(self) -> None:
        """Called by the dataclass after its fields are set."""
        if self.num_layers < 1:
            raise ValueError(f"num_layers={self.num_layers}: the query layer is one of the layers, so there must be 1 or more")
        if self.num_heads < 1 or self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size={self.hidden_size} must be a multiple of num_heads={self.num_heads}")
        if self.activation_function not in ACT2FN:
            raise ValueError(f"activation_function={self.activation_function!r} is not known to transformers; PanGu-alpha has gelu")
        if not self.scale_attn_weights:
            raise ValueError("scale_attn_weights=false: PanGu-alpha divides its attention scores by the root of the head's width")
