"""Dropout off, recomputation on."""

import copy

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from kinnari.models.dropout import train_without_dropout

COMMON = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
FAMILIES = {
    "llama": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "attention_dropout": 0.3},
    "xglm": {
        "d_model": 32,
        "ffn_dim": 48,
        "num_layers": 2,
        "attention_heads": 4,
        "dropout": 0.3,
        "attention_dropout": 0.3,
        "layerdrop": 0.5,
    },
    "opt": {"hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "word_embed_proj_dim": 32, "dropout": 0.3},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "hidden_dropout": 0.3, "attention_dropout": 0.3},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "resid_pdrop": 0.3, "embd_pdrop": 0.3, "attn_pdrop": 0.3},
    "gpt_neox": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_dropout": 0.3},
    "falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_dropout": 0.3, "attention_dropout": 0.3},
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.3, "decoder_start_token_id": 0},
}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_two_forwards_agree_and_blocks_are_computed_again_where_asked(family, checkpointing):
    config = AutoConfig.for_model(family, **COMMON, **FAMILIES[family])
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    torch.manual_seed(0)
    model = auto.from_config(copy.deepcopy(config)).train()
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    ids = torch.randint(3, 64, (2, 9), generator=torch.Generator().manual_seed(1))
    inputs = {"input_ids": ids, "use_cache": False} | ({"decoder_input_ids": ids} if config.is_encoder_decoder else {})
    blocks = [m for m in model.modules() if type(m).__name__ in model._no_split_modules]
    first = next(m for m in blocks[-1].modules() if list(m.parameters(recurse=False)))
    computed = []
    first.register_forward_pre_hook(lambda *_: computed.append(1))
    assert not torch.equal(model(**inputs).logits, model(**inputs).logits)  # there is dropout to turn off
    computed.clear()

    train_without_dropout(model)
    one, two = model(**inputs).logits, model(**inputs).logits
    one.sum().backward()

    assert torch.equal(one, two)
    assert config.to_dict() == model.config.to_dict()
    assert len(computed) == (3 if checkpointing else 2)
