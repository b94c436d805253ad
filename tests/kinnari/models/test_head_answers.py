"""What the head answers reward, value and policy heads with: against the model's own logits and hidden states, family by family."""

import contextlib

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM

from kinnari.functional.labels import shift_targets
from kinnari.models.head import install_loss_head, read_answers
from tests.kinnari.models.glm.toys import ROW, SHORT, padded
from tests.kinnari.models.glm.toys import toy_model as toy_glm
from tests.kinnari.models.pangu.toy import toy_model as toy_pangu
from tests.kinnari.models.test_head import FAMILIES, backward_gradients, batch_for, build, lora


def reference(logits, targets, temperature):
    """(log p [B, T], entropy [B, T]) of full logits in float64, 0 where the target is -100."""
    log_p = torch.log_softmax(logits.double() / temperature, dim=-1)
    chosen = log_p.gather(-1, targets.clamp(min=0)[..., None]).squeeze(-1)
    there = targets != -100
    return chosen * there, -(log_p.exp() * log_p).sum(-1) * there


def head_inputs(model, head, inputs):
    """What the head is given, [B, T, H], seen by a hook."""
    seen = []
    handle = head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    out = model(**inputs)
    handle.remove()
    return seen[0], out.logits


@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_what_the_full_logits_and_the_heads_input_say(family, tuning):
    base = build(family)
    inputs, _, targets = batch_for(family, base)
    torch.manual_seed(1)
    model = lora(base) if tuning == "lora" else base
    head = install_loss_head(model)
    hidden, logits = head_inputs(model, head, inputs)
    probe = torch.randn(hidden.shape[-1], generator=torch.Generator().manual_seed(2))
    logprobs, entropy = reference(logits, targets, 0.7)
    expected = backward_gradients(model, ((logprobs * 2 + entropy) * 0.3).sum() + (hidden @ probe).square().sum())

    with head.token_answers(targets, temperature=0.7, entropy_gradient=True):
        answers = read_answers(model(**inputs).logits)
    torch.testing.assert_close(answers.logprobs.double(), logprobs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(answers.entropy.double(), entropy, rtol=1e-5, atol=1e-5)
    assert torch.equal(answers.hidden_states, hidden) and hidden.shape == (*targets.shape, head.in_features)
    loss = ((answers.logprobs * 2 + answers.entropy) * 0.3).sum() + (answers.hidden_states @ probe).square().sum()
    ours = backward_gradients(model, loss)
    assert ours.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(ours[name], gradient, rtol=2e-4, atol=1e-5, msg=name)

    with head.token_logprobs(targets, temperature=0.7):
        alone = model(**inputs).logits
    assert torch.equal(alone, answers.logprobs)
    with head.hidden_states():
        assert torch.equal(model(**inputs).logits, hidden)
    assert torch.equal(model(**inputs).logits, logits)


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("family", ["pangu", "glm"])
def test_the_two_families_of_our_own_answer_the_same_calls(family, left):
    # GLM reads its two rows of positions and its prefix mask from the ids: the call is that of any model
    model = toy_glm() if family == "glm" else toy_pangu()
    ids, mask = padded([ROW, SHORT], left)
    labels = ids.masked_fill(mask == 0, -100)
    targets = shift_targets(labels)
    head = install_loss_head(model)
    hidden, logits = head_inputs(model, head, {"input_ids": ids, "attention_mask": mask})

    with head.token_answers(targets):
        answers = read_answers(model(input_ids=ids, attention_mask=mask, use_cache=False).logits)
    logprobs, entropy = reference(logits, targets, 1.0)
    torch.testing.assert_close(answers.logprobs, logprobs)
    torch.testing.assert_close(answers.entropy, entropy)
    assert torch.equal(answers.hidden_states, hidden)
    (answers.logprobs.sum() + answers.hidden_states[..., 0].square().sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("family", ["pangu", "glm"])
def test_a_reward_read_at_the_last_token_trains_everything_below_the_head(family):
    model = toy_glm() if family == "glm" else toy_pangu()
    ids, mask = padded([ROW, SHORT], left=False)
    head = install_loss_head(model)
    with head.hidden_states():
        hidden = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    last = hidden[torch.arange(2), mask.sum(1) - 1]
    (last @ torch.arange(1.0, 17.0, dtype=torch.float64)).sum().backward()
    untouched = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert untouched == []  # the head is the word embedding, which is read as well


def test_adapter_off_is_the_reference_policy():
    base = build("llama")
    inputs, _, targets = batch_for("llama", base)
    before = reference(base(**inputs).logits, targets, 1.0)[0]
    model = lora(base)
    head = install_loss_head(model)
    with head.token_logprobs(targets):
        tuned = model(**inputs).logits
        with model.disable_adapter(), torch.no_grad():
            off = model(**inputs).logits
    torch.testing.assert_close(off.double(), before.detach(), rtol=1e-5, atol=1e-5)
    assert (tuned - off).abs().max() > 1e-3


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantised_base_answers_too(bits, tmp_path):
    from transformers import BitsAndBytesConfig

    build("llama").save_pretrained(tmp_path)
    quantisation = BitsAndBytesConfig(load_in_4bit=bits == 4, load_in_8bit=bits == 8)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=quantisation, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"])).train()
    inputs, _, targets = batch_for("llama", model)
    head = install_loss_head(model)
    expected = reference(model(**inputs).logits, targets, 1.0)[0]
    with head.token_answers(targets):
        answers = read_answers(model(**inputs).logits)
    torch.testing.assert_close(answers.logprobs.double(), expected, rtol=1e-4, atol=1e-4)
    (answers.logprobs.sum() + answers.hidden_states.square().sum()).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


class TestBlocks:
    @pytest.mark.parametrize("outer", ["loss_of", "hidden_states"])
    def test_blocks_inside_each_other_are_refused(self, outer):
        head = install_loss_head(build("llama"))
        targets = torch.zeros(1, 2, dtype=torch.int64)
        blocks = {"loss_of": lambda: head.loss_of(targets), "hidden_states": head.hidden_states}
        with blocks[outer](), pytest.raises(RuntimeError, match="already open"), head.token_logprobs(targets):
            pass

    @pytest.mark.parametrize("family", ["gemma2", "cohere", "granite"])
    def test_a_failing_forward_leaves_softcap_and_scale_as_they_were(self, family):
        model = build(family)
        inputs, _, _ = batch_for(family, model)
        head = install_loss_head(model)
        before = model(**inputs).logits
        with contextlib.suppress(MemoryError), head.hidden_states():
            raise MemoryError
        assert torch.equal(model(**inputs).logits, before)

    def test_targets_of_another_shape_are_named(self):
        model = build("llama")
        head = install_loss_head(model)
        with pytest.raises(ValueError, match=r"targets are \(1, 3\)"), head.token_logprobs(torch.zeros(1, 3, dtype=torch.int64)):
            model(torch.ones(1, 2, dtype=torch.int64))

    def test_rows_without_any_target_give_zeros_and_zero_gradients(self):
        model = build("llama")
        inputs, _, targets = batch_for("llama", model)
        head = install_loss_head(model)
        with head.token_answers(torch.full_like(targets, -100)):
            answers = read_answers(model(**inputs).logits)
        assert not answers.logprobs.any() and not answers.entropy.any()
        answers.logprobs.sum().backward()
        assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def actor_critic_loss(model: nn.Module, head, inputs, targets) -> torch.Tensor:
    """Something that needs log-probabilities, entropy and hidden states of one forward."""
    with head.token_answers(targets, entropy_gradient=True):
        answers = read_answers(model(**inputs, use_cache=False).logits)
    return (answers.logprobs + answers.entropy).sum() + answers.hidden_states.square().sum()


def single_gradients(family: str, kind: str) -> dict[str, torch.Tensor]:
    model = build(family)
    inputs, _, targets = batch_for(family, model)
    del inputs["use_cache"]
    head = install_loss_head(model)
    return backward_gradients(model, sharded_loss(kind, model, head, inputs, targets))


def sharded_loss(kind: str, model, head, inputs, targets) -> torch.Tensor:
    if kind == "answers":
        return actor_critic_loss(model, head, inputs, targets)
    with head.hidden_states():
        return model(**inputs, use_cache=False).logits.square().sum()


def own_row(family: str, model) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    from torch import distributed

    inputs, _, targets = batch_for(family, model)
    row = slice(distributed.get_rank(), distributed.get_rank() + 1)
    return {name: inputs[name][row] for name in ("input_ids", "attention_mask")}, targets[row]


def fsdp2_error(kind: str) -> float:
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    distributed.init_process_group("gloo")
    expected, model = single_gradients("gemma2", kind), build("gemma2")
    head = install_loss_head(model)
    for module in (*model.model.layers, model):
        fully_shard(module, mesh=init_device_mesh("cpu", (2,)))
    inputs, targets = own_row("gemma2", model)
    (sharded_loss(kind, model, head, inputs, targets) * 2).backward()  # FSDP2 averages over the two ranks
    error = max((p.grad.full_tensor() - expected[name]).abs().max().item() for name, p in model.named_parameters())
    distributed.destroy_process_group()
    return error


def zero3_error(kind: str) -> float:
    import deepspeed
    from deepspeed.utils import safe_get_full_grad
    from torch import distributed

    distributed.init_process_group("gloo")
    deepspeed.init_distributed("gloo", auto_mpi_discovery=False)
    expected, model = single_gradients("llama", kind), build("llama")
    head = install_loss_head(model)
    if kind == "hidden":
        head.requires_grad_(False)  # an untied head that nothing calls has no gradient to reduce
    names = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    engine, *_ = deepspeed.initialize(
        config={"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0},
                "zero_allow_untested_optimizer": True, "zero_force_ds_cpu_optimizer": False},
        model=model,
        optimizer=torch.optim.SGD([p for _, p in names], lr=0.1),
        dist_init_required=False,
    )  # fmt: skip
    inputs, targets = own_row("llama", model)
    engine.backward(sharded_loss(kind, engine, head, inputs, targets) * 2)
    error = max((safe_get_full_grad(p) - expected[name]).abs().max().item() for name, p in names)
    distributed.destroy_process_group()
    return error


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["answers", "hidden"])
@pytest.mark.parametrize("error", [fsdp2_error, zero3_error])
def test_sharded_the_gradients_are_those_of_one_process(error, kind):
    from tests.distributed import run_ranks

    assert max(run_ranks(error, 2, kind)) < 1e-3
