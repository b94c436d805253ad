"""Time and peak memory of a training step of XGLM and Bloom: Kinnari's SDPA layers against transformers' eager attention.

    python benchmarks/attention.py
    python benchmarks/attention.py --trained lora --lengths 2048 --layout packed --layers 24 --kernels sdpa
    python benchmarks/attention.py --clock cpu                  # on a machine that others use too

One layer has the shape of xglm564m and bloom-560m; the weights are random, the vocabulary is small and the loss is the chunked one, so
that attention is not lost beside the head. A step is forward and backward without an optimizer. Every measurement is a process of its
own; rounds alternate between the kernels. On the CPU memory is the high-water mark of the resident set (ru_maxrss), on a GPU that of
the caching allocator, both less that of a process with model and batch that makes no step.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

KERNELS = ("eager", "sdpa")
LAYOUTS = ("plain", "padded", "packed")
RECORDS = 8  # in a packed row


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.child is not None:
        print(json.dumps(measure(arguments, **json.loads(arguments.child))))
        return
    print(f"{'family':<8}{'trained':<9}{'layout':<8}{'tokens':>7}{'kernel':>8}{'seconds':>9}{'step MiB':>10}{'peak MiB':>10}")
    rows = []
    for family in arguments.families:
        for trained in arguments.trained:
            for layout in arguments.layout:
                for length in arguments.lengths:
                    rows.append(_compared({"family": family, "trained": trained, "layout": layout, "length": length}, arguments.kernels))
                    _show(rows[-1])
    settings = {name: value for name, value in vars(arguments).items() if name not in ("child", "out")}
    record = json.dumps({"settings": settings, "rows": rows})
    print(record)
    if arguments.out:
        Path(arguments.out).write_text(record + "\n", encoding="utf-8")


def _compared(case: dict, kernels: list[str]) -> dict:
    """The case with medians over rounds, and the ratios of SDPA to eager (time: median of the ratios within a round)."""
    arguments = _parser().parse_args()
    idle = _in_a_process({**case, "kernel": "none"})["peak_mib"]
    rounds = [{kernel: _in_a_process({**case, "kernel": kernel}) for kernel in kernels} for _ in range(arguments.rounds)]
    result = dict(case)
    for kernel in kernels:
        peak = statistics.median(r[kernel]["peak_mib"] for r in rounds)
        seconds = statistics.median(r[kernel]["seconds"] for r in rounds)
        result[kernel] = {"seconds": seconds, "peak_mib": peak, "step_mib": peak - idle, "loss": rounds[0][kernel]["loss"]}
    if len(kernels) == 2:
        result["time_ratio"] = statistics.median(r["sdpa"]["seconds"] / r["eager"]["seconds"] for r in rounds)
        result["step_memory_ratio"] = result["sdpa"]["step_mib"] / result["eager"]["step_mib"]
    return result


def _show(row: dict) -> None:
    place = f"{row['family']:<8}{row['trained']:<9}{row['layout']:<8}{row['length']:>7}"
    for kernel in KERNELS:
        if kernel in row:
            found = row[kernel]
            print(f"{place}{kernel:>8}{found['seconds']:>9.2f}{found['step_mib']:>10.0f}{found['peak_mib']:>10.0f}", flush=True)
    if "time_ratio" in row:
        print(f"{place}{'ratio':>8}{row['time_ratio']:>9.2f}{row['step_memory_ratio']:>10.2f}", flush=True)


def measure(arguments: argparse.Namespace, family: str, trained: str, layout: str, length: int, kernel: str) -> dict[str, float]:
    """One kernel in this process: {"peak_mib", "seconds" (the fastest of `--steps`), "loss" (mean nll in nats of the first step)}."""
    import torch

    torch.set_num_threads(arguments.threads)
    model, head = _model(arguments, family, trained, length, "eager" if kernel == "none" else kernel)
    ids, targets, inputs = _batch(arguments, model, layout, length)
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    seconds, losses = [], []
    for _ in range(0 if kernel == "none" else arguments.steps):
        model.zero_grad(set_to_none=True)
        torch.manual_seed(0)
        started = clock()
        with head.loss_of(targets):
            loss = model(input_ids=ids, **inputs).logits[0] / (targets != -100).sum()
        loss.backward()
        losses.append(loss.item())  # waits for the device
        seconds.append(clock() - started)
    if arguments.device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"peak_mib": peak, "seconds": min(seconds, default=0.0), "loss": losses[0] if losses else 0.0}


def _model(arguments: argparse.Namespace, family: str, trained: str, length: int, kernel: str):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from kinnari.models.attention import install_attention
    from kinnari.models.head import install_loss_head

    torch.manual_seed(0)
    common = {"vocab_size": arguments.vocab, "attention_dropout": arguments.dropout}
    if family == "xglm":
        shape = {"d_model": arguments.hidden, "ffn_dim": 4 * arguments.hidden, "num_layers": arguments.layers, "dropout": 0.0,
                 "attention_heads": arguments.heads, "max_position_embeddings": length}  # fmt: skip
    else:
        shape = {"hidden_size": arguments.hidden, "n_layer": arguments.layers, "n_head": arguments.heads}
    config = AutoConfig.for_model(family, **common, **shape)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=getattr(torch, arguments.dtype))
    install_attention(model, kernel)
    model.to(arguments.device).train()
    if trained == "lora":
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"] if family == "xglm" else ["query_key_value"]))
    return model, install_loss_head(model)


def _batch(arguments: argparse.Namespace, model, layout: str, length: int):
    """ids [B, T], targets [B, T], further arguments; "padded" rows have a tenth of padding on the right, "packed" ones eight records."""
    import torch

    from kinnari.functional.labels import shift_targets
    from kinnari.models.packing import packed_inputs

    ids = torch.randint(4, arguments.vocab, (arguments.batch, length), device=arguments.device)
    places = torch.arange(length, device=arguments.device).expand_as(ids)
    labels, inputs = ids.clone(), {"use_cache": False}
    if layout == "padded":
        inputs["attention_mask"] = (places < length - length // 10).long()
        labels[:, length - length // 10 :] = -100
    elif layout == "packed":
        size = -(-length // RECORDS)
        inputs = packed_inputs(places % size, places // size, "mask4d", model.config._attn_implementation, model.dtype)
        labels[places % size == 0] = -100
    return ids, shift_targets(labels), inputs


def _in_a_process(case: dict) -> dict[str, float]:
    command = [sys.executable, *sys.argv, "--child", json.dumps(case)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", choices=("xglm", "bloom"), default=["xglm", "bloom"])
    parser.add_argument("--trained", nargs="+", choices=("full", "lora"), default=["full", "lora"])
    parser.add_argument("--layout", nargs="+", choices=LAYOUTS, default=["plain"], help="how a row is filled")
    parser.add_argument("--lengths", nargs="+", type=int, default=[512, 2048], help="tokens a row")
    parser.add_argument("--kernels", nargs="+", choices=KERNELS, default=list(KERNELS))
    parser.add_argument("--layers", type=int, default=2, help="eager needs about 1 GiB a layer at 2,048 tokens")
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--vocab", type=int, default=8192)
    parser.add_argument("--dropout", type=float, default=0.0, help="attention dropout (XGLM's published configuration has 0.1)")
    parser.add_argument("--batch", type=int, default=1, help="rows")
    parser.add_argument("--steps", type=int, default=2, help="steps a process; the fastest is reported")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of every process")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", help="a file for the json line as well")
    parser.add_argument("--child", help="measure this case in this process (used for the children)")
    return parser


if __name__ == "__main__":
    main()
