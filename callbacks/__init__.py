"""What happens beside training; each class is one option of `conf/callbacks/`."""

from callbacks.benchmarks import BenchmarkScores
from callbacks.energy import Energy
from callbacks.export_best import ExportBest
from callbacks.generation_metrics import GenerationMetrics
from callbacks.peak_memory import PeakMemory
from callbacks.progress import Progress
from callbacks.rollout_samples import RolloutSamples
from callbacks.sample_answers import SampleAnswers
from callbacks.throughput import Throughput
from callbacks.watchdogs import Watchdogs

__all__ = [
    "BenchmarkScores",
    "Energy",
    "ExportBest",
    "GenerationMetrics",
    "PeakMemory",
    "Progress",
    "RolloutSamples",
    "SampleAnswers",
    "Throughput",
    "Watchdogs",
]
