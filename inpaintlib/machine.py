"""The machine and the software that a run used, for its provenance."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import torch

from .checks import InpaintError

__all__ = ["device", "hardware", "peak_gpu_memory_gb", "packages", "peak_memory_gb", "short_hardware", "versions"]

PACKAGES = ("torchvision", "numpy", "scipy", "pandas", "matplotlib", "lpips", "timm", "open_clip_torch", "scikit-learn",
            "torchmetrics", "papermill", "opencv-python-headless")  # fmt: skip


def device() -> str:
    """Returns where a run computes: ``INPAINTLIB_DEVICE`` (cpu, cuda or cuda:N), else cuda if there is a GPU, else cpu.

    Raises InpaintError for another name, or a GPU that this machine lacks.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    name = os.environ.get("INPAINTLIB_DEVICE") or ("cuda" if gpus else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise InpaintError(f"INPAINTLIB_DEVICE must be cpu, cuda or cuda:N; got {name!r}")
    if name != "cpu" and int(name.partition(":")[2] or 0) >= gpus:
        raise InpaintError(
            f"INPAINTLIB_DEVICE must be a device of this machine; {name!r} is none, torch sees {gpus} GPUs"
        )
    return name


def packages() -> dict[str, str]:
    """Returns the versions of Python and of the packages that results depend on."""
    # torch's own string tells the build (CPU, CUDA) too, which the package's version does not.
    found = {name: version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "torch": torch.__version__, **found}


def versions(root: Path) -> dict[str, str]:
    """Returns :func:`packages`, and the commit of ``root``."""
    return {**packages(), "commit": _commit(root)}


def hardware() -> dict[str, str]:
    """Returns processor, cores usable, threads, memory and GPU of this machine."""
    # The cores this process may use: a container or a batch system may grant fewer than there are.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "processor": _processor(),
        "cores": str(cores),
        "threads of torch": str(torch.get_num_threads()),
        "memory": f"{memory:.0f} GB",
        "GPU": gpu,
        "system": platform.system(),
    }


def short_hardware() -> str:
    """Returns the machine in a few words, as a model card names it."""
    facts = hardware()
    gpu = "" if facts["GPU"] == "none" else f", {facts['GPU']}"
    return f"{facts['processor']}, {facts['cores']} cores{gpu}"


def peak_memory_gb() -> float:
    """Returns the largest resident memory of this process so far, in GB (2^30 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20  # macOS counts bytes, Linux KiB


def peak_gpu_memory_gb() -> float:
    """Returns the most memory that tensors of this process took on a GPU so far, in GB (2^30 bytes)."""
    return max((torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count())), default=0) / 2**30


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit(root: Path) -> str:
    """Returns the commit of a work tree, marked if files differ from it; 'none' outside of git."""
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty= with changes", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "none"
    return done.stdout.strip()
