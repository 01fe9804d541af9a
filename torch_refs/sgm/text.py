"""Reports the second text encoder of Stability-AI's package, which is OpenCLIP's and is called piece by piece.

The package calls OpenCLIP's layers itself, so that there is no one module whose output is the encoder's. What is
reported at `text_encoder_2` has the ports that transformers' encoder has: the hidden states (the embeddings' sum
first), the last one after the final norm, and the pooled text after its projection, which is a product with a
matrix and no module.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from parity.frameworks.torch_ import observed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parity.frameworks.torch_ import Snapshots
    from parity.taps import Taps
    from torch_refs.sgm.package import Package

__all__ = ["pooled_before_projection", "reporting_text"]


def pooled_before_projection(states: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return the state at the end of each text, which has the largest id."""
    return states[torch.arange(states.shape[0], device=states.device), ids.argmax(dim=-1)]


@contextmanager
def reporting_text(embedder: Any, package: Package, taps: Taps, snapshots: Snapshots) -> Iterator[None]:
    """Report tokenizer, encoder and projection while the block runs."""
    open_clip = package.encoders.open_clip
    tokenize, encode, pool = open_clip.tokenize, embedder.encode_with_transformer, embedder.pool
    states: list[torch.Tensor] = []

    def tokenized(texts: Any, *args: Any, **kwargs: Any) -> Any:
        with observed("tokenizer_2", {}, taps, snapshots, "open_clip.tokenize") as seen:
            result = seen.outputs["input_ids"] = tokenize(texts, *args, **kwargs)
            taps.value(taps.stack[-1], "input.text", list(texts))
        return result

    def encoded(text: torch.Tensor) -> Any:
        states.clear()
        name = "conditioner.embedders.1.encode_with_transformer"
        with observed("text_encoder_2", {"input_ids": text}, taps, snapshots, name) as seen:
            result = encode(text)
            seen.outputs["last_hidden_state"] = embedder.reported_last
            seen.outputs["hidden_states"] = tuple(state.transpose(0, 1) for state in states)
            seen.outputs["text_embeds"] = result["pooled"]
        return result

    def pooled(last: torch.Tensor, text: torch.Tensor) -> Any:
        embedder.reported_last = last
        inputs = {"input": pooled_before_projection(last, text)}
        name = "conditioner.embedders.1.pool"
        with observed("text_encoder_2.text_projection", inputs, taps, snapshots, name) as seen:
            result = seen.outputs[""] = pool(last, text)
        return result

    blocks = embedder.model.transformer.resblocks
    handles = [blocks[0].register_forward_pre_hook(lambda _module, args: states.append(args[0]))]
    handles += [block.register_forward_hook(lambda _module, _args, output: states.append(output)) for block in blocks]
    open_clip.tokenize = tokenized
    embedder.encode_with_transformer, embedder.pool = encoded, pooled
    try:
        yield
    finally:
        open_clip.tokenize = tokenize
        del embedder.encode_with_transformer, embedder.pool
        for handle in handles:
            handle.remove()
        if hasattr(embedder, "reported_last"):
            del embedder.reported_last
