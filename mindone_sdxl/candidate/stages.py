"""The stages of a run outside of the sampler's loop: the pipeline computes each, and the harness is told.

A stage takes what the one before it made, or what the reference recorded there: that is the whole difference between
running free and being restarted at every stage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from mindspore import ops
from parity.address import Address

from mindone_sdxl.candidate.rows import SIZES
from mindone_sdxl.conditioning import Conditioning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mindspore import Tensor
    from parity.replay import Given, Reporter

    from mindone_sdxl.candidate.system import PortSystem
    from mindone_sdxl.conditioning import TextEmbeddings

__all__ = ["Stages"]


class Stages:
    """What one run of a system computes before and after its loop, and what the reference recorded there."""

    def __init__(self, system: PortSystem, given: Given, reporter: Reporter) -> None:
        """Run in `system` and report to `reporter`."""
        self._system, self._pipeline = system, system.pipeline
        self._given, self._reporter = given, reporter
        self._guided = system.guider.halves > 1

    def texts(self) -> list[list[str]]:
        """Return the texts of each call of the text encoders."""
        positive, negative = (self._system.case["prompt"][half] for half in ("positive", "negative"))
        if not negative and self._system.stability:
            negative = [""] * len(positive)
        return [positive, negative] if self._guided and negative else [positive]

    def tokenize(self, texts: Sequence[str], call: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokenize and report."""
        ids, ids_2 = self._pipeline.tokenize(texts)
        self._reporter.function("tokenizer", {"output.input_ids": ids}, call)
        self._reporter.function("tokenizer_2", {"output.input_ids": ids_2}, call)
        return ids, ids_2

    def recorded_ids(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the reference's token ids of each call of the text encoders, from both tokenizers."""
        count = len(self.texts())
        if count == 1:
            return [self._recorded_ids_of(None)]
        return [self._recorded_ids_of(call) for call in range(count)]

    def _recorded_ids_of(self, call: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the reference's token ids of one call from both tokenizers."""
        first, second = (
            Address(path=name, call=call, port="output.input_ids") for name in ("tokenizer", "tokenizer_2")
        )
        return self._given.tensor(str(first)), self._given.tensor(str(second))

    def condition(self, ids: Sequence[tuple[np.ndarray, np.ndarray]]) -> Conditioning:
        """Embed each call's token ids, put both halves and the time ids together, and report them."""
        embeddings = [self._pipeline.encode_ids(*both) for both in ids]
        positive, negative = embeddings[0], embeddings[-1]
        if not self._system.case["prompt"][
            "negative"
        ]:  # Stability's package encodes "" then, and puts zeros in its place
            negative = positive.zeros()
        sizes = self._system.time_ids()
        if self._guided:
            self._report_embeddings({"": positive, "negative_": negative})
            conditioning = self._pipeline.join(negative, positive, sizes)
        else:
            self._report_embeddings({"": positive})
            vector = self._pipeline.vector(positive.pooled, sizes)
            conditioning = Conditioning(context=positive.context, vector=vector)
        if self._system.stability:
            self._report_sizes(conditioning)
        return conditioning

    def _report_embeddings(self, halves: Mapping[str, TextEmbeddings]) -> None:
        """Report the embeddings of each half, by what its ports begin with, and the time ids."""
        outputs = {}
        for half, embeddings in halves.items():
            outputs[f"output.{half}prompt_embeds"] = embeddings.context.asnumpy()
            outputs[f"output.{half}pooled_prompt_embeds"] = embeddings.pooled.asnumpy()
        self._reporter.function("encode_prompt", outputs)
        self._reporter.function("add_time_ids", {"output": self._system.guided_time_ids()})

    def _report_sizes(self, conditioning: Conditioning) -> None:
        """Report the embeddings of original size, crop and target, of the prompts and then of the negative ones."""
        size = self._pipeline.config.unet.size_embedding_size
        parts = self._system.size_embeddings(conditioning).reshape(self._system.guider.halves, -1, 3, 2, size)
        calls = parts[::-1].swapaxes(1, 2).reshape(3 * self._system.guider.halves, -1, size)
        for call, part in enumerate(calls):
            self._reporter.function(SIZES, {"output": part}, call)

    def recorded_conditioning(self) -> Conditioning:
        """Return the reference's conditioning of the UNet."""
        halves = ("negative_", "") if self._guided else ("",)
        context = [self._recorded(f"encode_prompt:output.{half}prompt_embeds") for half in halves]
        pooled = [self._recorded(f"encode_prompt:output.{half}pooled_prompt_embeds") for half in halves]
        ids = np.concatenate([self._system.time_ids()] * len(halves))
        return Conditioning(context=ops.cat(context), vector=self._pipeline.vector(ops.cat(pooled), ids))

    def schedule(self) -> None:
        """Report the noise levels."""
        self._reporter.function("scheduler.set_timesteps", self._system.schedule_outputs())

    def encode(self) -> Tensor | None:
        """Encode the case's image, report, and return its latents, unscaled; None where the reference encoded none."""
        if "vae.encode:input.x" not in self._given.run:
            return None
        dtype = self._pipeline.model.vae.dtype
        image, noise = (self._recorded(f"vae.encode:input.{key}", dtype) for key in ("x", "noise"))
        found = self._system.encoded(image, noise)
        self._reporter.function("vae.encode", found)
        return self._system.native(found["output.sample"], self._pipeline.latents_dtype)

    def prepare(self, encoded: Tensor | None) -> Tensor:
        """Return and report the latents of the first step, from the noise and, image to image, from an encoded image.

        Without `encoded` the image's latents are the reference's.
        """
        noise, schedule = self._given.tensor("prepare_latents:input.noise"), self._system.schedule
        if self._system.case.get("image") is None:
            latents = self._pipeline.initial_latents(noise, schedule)
        else:
            latents = self._pipeline.noised_latents(self._clean(encoded), noise, schedule)
        self._reporter.function("prepare_latents", {"output": latents.asnumpy()})
        return latents

    def _clean(self, encoded: Tensor | None) -> Tensor:
        """Return the scaled latents of the case's image: those that were encoded here, else the reference's."""
        if encoded is not None:
            return self._pipeline.scale_latents(encoded)
        return self._recorded("prepare_latents:input.init_latents", self._pipeline.latents_dtype)

    def decode(self, latents: Tensor) -> None:
        """Decode and report."""
        image = self._pipeline.decode(latents)
        self._reporter.function("vae.decode", {"output": image.asnumpy()})
        self._reporter.function("postprocess", {"output": self._pipeline.unit_range(image)})

    def recorded_latents(self) -> Tensor:
        """Return what the reference's last step gave."""
        last = self._system.schedule.steps - 1
        return self._recorded(f"scheduler.step@step={last}:output", self._pipeline.latents_dtype)

    def _recorded(self, address: str, dtype: object = None) -> Tensor:
        """Return the reference's tensor at an address."""
        return self._system.native(self._given.tensor(address), dtype)
