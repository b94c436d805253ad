"""Peak memory and time of a training step over a large vocabulary: transformers' own loss and the loss head.

    python benchmarks/loss_memory.py
    python benchmarks/loss_memory.py --hidden 1024 --trained lora --device cuda

Every variant runs in a process of its own, under the same conditions: same weights, tokens, threads and allocator. On
the CPU the figure is the high-water mark of the resident set (ru_maxrss), on a GPU that of the caching allocator. The
baseline row is the process with model and batch but no step, so that weights and libraries can be subtracted.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

VARIANTS = ("baseline", "transformers", "plain", "chunked")


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.variant is not None:
        print(json.dumps(measure(arguments)))
        return
    results = {variant: _in_a_process(variant) for variant in VARIANTS}
    own, ours, idle = results["transformers"], results["chunked"], results["baseline"]
    print(f"{'variant':<14}{'peak MiB':>10}{'of the step':>13}{'step s':>9}{'nll/token':>12}")
    for variant, row in results.items():
        step = row["peak_mib"] - idle["peak_mib"]
        print(f"{variant:<14}{row['peak_mib']:>10.0f}{step:>13.0f}{row['seconds']:>9.2f}{row['nll']:>12.6f}")
    ratios = {
        "peak_ratio": ours["peak_mib"] / own["peak_mib"],
        "step_memory_ratio": (ours["peak_mib"] - idle["peak_mib"]) / (own["peak_mib"] - idle["peak_mib"]),
        "time_ratio": ours["seconds"] / own["seconds"],
    }
    print("chunked / transformers: " + ", ".join(f"{name} {value:.3f}" for name, value in ratios.items()))
    print(json.dumps({"settings": vars(arguments), "results": results, **ratios}))


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """One variant in this process: {"peak_mib", "seconds" (the faster of `--steps`), "nll" (nats a token)}."""
    import torch

    torch.set_num_threads(arguments.threads)
    model, head, input_ids = _model(arguments)
    seconds, nll = [0.0], 0.0
    if arguments.variant != "baseline":
        seconds = []
        for _ in range(arguments.steps):
            model.zero_grad(set_to_none=True)
            started = time.perf_counter()
            loss = _loss(arguments, model, head, input_ids)
            loss.backward()
            nll = loss.item()  # waits for the device
            seconds.append(time.perf_counter() - started)
    if arguments.device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"peak_mib": peak, "seconds": min(seconds), "nll": nll}


def _model(arguments: argparse.Namespace):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from kinnari.models.head import install_loss_head

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=arguments.vocab,
        hidden_size=arguments.hidden,
        intermediate_size=2 * arguments.hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=arguments.sequence,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).to(arguments.device).train()
    if arguments.trained == "lora":
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"]))
    head = install_loss_head(model) if arguments.variant in ("plain", "chunked") else None
    input_ids = torch.randint(0, arguments.vocab, (arguments.batch, arguments.sequence), device=arguments.device)
    return model, head, input_ids


def _loss(arguments: argparse.Namespace, model, head, input_ids):
    """Mean nll of all tokens but the first of each row."""
    from kinnari.functional.labels import shift_targets

    if arguments.variant == "transformers":
        return model(input_ids=input_ids, labels=input_ids, use_cache=False).loss
    targets = shift_targets(input_ids)
    with head.loss_of(targets, chunked=arguments.variant == "chunked"):
        nll_sum = model(input_ids=input_ids, use_cache=False).logits[0]
    return nll_sum / (arguments.batch * (arguments.sequence - 1))


def _in_a_process(variant: str) -> dict[str, float]:
    command = [sys.executable, *sys.argv, "--variant", variant]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocab", type=int, default=256_008, help="vocabulary (XGLM's by default)")
    parser.add_argument("--hidden", type=int, default=256, help="hidden size")
    parser.add_argument("--sequence", type=int, default=1024, help="tokens a row")
    parser.add_argument("--batch", type=int, default=4, help="rows")
    parser.add_argument("--steps", type=int, default=1, help="steps a variant; the fastest is reported")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of every variant")
    parser.add_argument("--trained", choices=("full", "lora"), default="full", help="lora freezes the head")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--variant", choices=VARIANTS, help="measure this one in this process (used for the children)")
    return parser


if __name__ == "__main__":
    main()
