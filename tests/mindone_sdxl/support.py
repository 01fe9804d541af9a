"""Numbers that several test modules need."""

from __future__ import annotations

import numpy as np

SIZES = {"original": (131, 104), "crop": (3, 5), "target": (96, 80)}
PROMPTS = ["an astronaut riding the cat, 8k!", "the " * 90 + "strong cat"]
NEGATIVE = ["blurry", ""]


def distance(candidate, reference) -> float:
    """Relative rms distance of a MindSpore tensor or array from a torch tensor or array."""
    candidate, reference = (
        np.asarray(value.asnumpy() if hasattr(value, "asnumpy") else value, dtype=np.float64)
        for value in (candidate, reference)
    )
    if candidate.shape != reference.shape:
        message = f"{candidate.shape} against {reference.shape}"
        raise AssertionError(message)
    return float(np.sqrt(np.mean((candidate - reference) ** 2) / np.mean(reference**2)))


def widened(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Standard normal numbers that float32 holds exactly, as float64."""
    return rng.standard_normal(shape).astype(np.float32).astype(np.float64)
