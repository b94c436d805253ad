"""What happens beside training; each class is one option of `conf/callbacks/`."""

from callbacks.export_best import ExportBest
from callbacks.peak_memory import PeakMemory
from callbacks.progress import Progress
from callbacks.rouge import RougeL
from callbacks.sample_answers import SampleAnswers
from callbacks.throughput import Throughput

__all__ = ["ExportBest", "PeakMemory", "Progress", "RougeL", "SampleAnswers", "Throughput"]
