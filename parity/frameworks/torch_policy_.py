"""What torch's numbers depend on: versions, device, threads, and the switches that trade digits for speed.

An NVIDIA GPU from Ampere on multiplies float32 with TF32, ten bits of mantissa, unless it is told not to;
for convolutions that is torch's default. `exact_float32` switches it off while a reference is recorded, and
`policy` names what is in force. `provenance` reports both, for the manifest.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from parity.errors import InputError
from parity.provenance import versions

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["device_of", "exact_float32", "policy", "provenance", "threads"]


def device_of(name: str) -> torch.device:
    """Return the device that `name` (`cpu`, `cuda`, `cuda:1`) means.

    Raises:
        InputError: it is another word, or this machine has no such device.
    """
    kind, _, index = name.partition(":")
    if kind not in {"cpu", "cuda"} or (index and not index.isdecimal()):
        message = f"{name!r} is not a device; give cpu, cuda or cuda:N"
        raise InputError(message)
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if int(index or 0) >= count:
        message = f"device {name!r} is not there; torch sees {count} CUDA devices, use cpu"
        raise InputError(message)
    return torch.device(name)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Compute float32 products in float32 and pick convolution algorithms by rule while the block runs."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark, cudnn.deterministic)
    try:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark, cudnn.deterministic = False, False, False, True
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark, cudnn.deterministic = before


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute operators on `count` threads while the block runs."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)


def policy(dtype: str, device: torch.device) -> str:
    """Return the name of the precision in force: the working type, or `tf32` where float32 is not exact."""
    if device.type == "cuda" and dtype == "float32" and any(_tf32().values()):
        return "tf32"
    return dtype


def provenance(device: torch.device) -> dict[str, Any]:
    """Return torch's part of the manifest's provenance."""
    found: dict[str, Any] = {
        "framework": "torch",
        "versions": versions("torch", "diffusers", "transformers", "tokenizers", "safetensors", "accelerate"),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "allow_tf32": _tf32(),
        "reduced_precision_reduction": {
            "float16": bool(torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction),
            "bfloat16": bool(torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction),
        },
        "sdpa": {
            "flash": torch.backends.cuda.flash_sdp_enabled(),
            "memory_efficient": torch.backends.cuda.mem_efficient_sdp_enabled(),
            "math": torch.backends.cuda.math_sdp_enabled(),
            "cudnn": torch.backends.cuda.cudnn_sdp_enabled(),
        },
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": {"deterministic": torch.backends.cudnn.deterministic, "benchmark": torch.backends.cudnn.benchmark},
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
    if device.type == "cuda":
        found["device_name"] = torch.cuda.get_device_name(device)
        found["versions"] |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
        found["cublas_workspace"] = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    return found


def _tf32() -> dict[str, bool]:
    """Return where TF32 may be used."""
    return {"convolution": bool(torch.backends.cudnn.allow_tf32), "matmul": bool(torch.backends.cuda.matmul.allow_tf32)}
