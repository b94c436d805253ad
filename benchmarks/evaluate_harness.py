"""lm-eval's variant of `benchmarks/evaluate.py`: the same questions as a task of its own, in an environment of its own.

python benchmarks/evaluate_harness.py '<settings as json>'       # prints one line of json last
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

sys.path.pop(0)  # this folder's evaluate.py is not the package `evaluate` that lm-eval imports

import torch
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

TASK = """task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{context}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: gold
target_delimiter: ""
num_fewshot: 0
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
WARM = list(range(100, 164))  # as in evaluate_child.py, whose libraries are not here


def load_task(settings: dict[str, Any]) -> Any:
    """The case as lm-eval's task, its file read."""
    folder = Path(settings["folder"])
    name = "kinnari_" + settings["case_name"]
    tasks = folder / f"tasks_{settings['case_name']}"
    tasks.mkdir(exist_ok=True)
    (tasks / f"{name}.yaml").write_text(TASK.format(name=name, file=json.dumps(str(folder / f"{settings['case_name']}.jsonl"))))
    return TaskManager(include_path=str(tasks), include_defaults=False).load([name])


def harness(settings: dict[str, Any]) -> dict[str, Any]:
    """What `lm_eval` does between loading a model and its task and printing a table."""
    task = load_task(settings)
    model = HFLM(str(Path(settings["folder"]) / "model"), device="cpu", dtype="float32", batch_size=settings["lm_eval_batch"])
    with torch.inference_mode():
        model.model(input_ids=torch.tensor([WARM]))
    now = time.perf_counter if settings["clock"] == "wall" else lambda: time.process_time() / settings["threads"]
    began = now()
    results: Any = evaluate(lm=model, task_dict=task)
    seconds = now() - began
    ((name, samples),) = results["samples"].items()
    samples = sorted(samples, key=lambda sample: sample["doc_id"])
    scores = [[float(response[0]) for response in sample["filtered_resps"]] for sample in samples]
    return {
        "seconds": seconds,
        "questions": len(samples),
        "accuracy": float(results["results"][name]["acc,none"]),
        "scores": scores,
        "predictions": [max(range(len(values)), key=values.__getitem__) for values in scores],
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(settings["threads"])
    print(json.dumps(harness(settings)))


if __name__ == "__main__":
    main()
