"""What an experiment ran on: numbers of time mean nothing without it."""

import os
import platform
from pathlib import Path

CPU_FACTS = Path("/proc/cpuinfo")


def describe_machine(threads: int = 0) -> dict[str, str | int]:
    """Return the names and sizes of what computes here.

    Args:
        threads: asked of PyTorch; 0 for its default.

    Example:
        >>> sorted(describe_machine())
        ['cores', 'cpu', 'gpu', 'python', 'threads', 'torch']
    """
    import torch

    return {
        "cpu": processor_name(),
        "cores": os.cpu_count() or 0,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "threads": threads or torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }


def machine_fact() -> str:
    """Return a line of facts about what computes here.

    Example:
        >>> machine_fact().count("; ")
        2
    """
    machine = describe_machine()
    return "CPU {cpu}, {cores} cores; GPU {gpu}; PyTorch {torch}".format(**machine)


def processor_name() -> str:
    """Return the model where Linux tells it, else what Python knows."""
    lines = CPU_FACTS.read_text().splitlines() if CPU_FACTS.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
