"""Every row of the name table: the cell's output equals its module's, in float64, in one free run of all networks."""

from __future__ import annotations

import numpy as np
import pytest

from support import distance, widened

pytestmark = [pytest.mark.torch, pytest.mark.mindspore]
COMPONENTS = ("unet", "vae", "text_encoder", "text_encoder_2")
FIELDS = {"text_encoder": "last_hidden_state", "text_encoder_2": "text_embeds"}


def first(output):
    return output[0] if isinstance(output, tuple) else output


def record_reference(reference, arguments):
    """Outputs by module path, in order of calls."""
    import torch

    outputs, handles = {}, []
    for component in COMPONENTS:
        for path, module in getattr(reference, component).named_modules():
            name = f"{component}.{path}" if path else component

            def keep(_module, _inputs, output, name=name):
                value = getattr(output, FIELDS.get(name, ""), output) if name in FIELDS else first(output)
                value = getattr(value, "sample", value)
                outputs.setdefault(name, []).append(value.numpy() if hasattr(value, "numpy") else None)

            handles.append(module.register_forward_hook(keep))
    latents, ids, ids_2, sizes, image = (torch.from_numpy(value) for value in arguments)
    with torch.no_grad():
        first_text = reference.text_encoder(ids.long(), output_hidden_states=True).hidden_states[-2]
        second = reference.text_encoder_2(ids_2.long(), output_hidden_states=True)
        context = torch.cat((first_text, second.hidden_states[-2]), -1)
        added = {"text_embeds": second.text_embeds, "time_ids": sizes}
        time = torch.tensor(334.0, dtype=torch.float64)
        reference.unet(latents, time, encoder_hidden_states=context, added_cond_kwargs=added)
        reference.vae.encode(image)
        reference.vae.decode(latents)
    for handle in handles:
        handle.remove()
    return outputs


def record_native(pipeline, arguments, mindspore):
    """Outputs by cell path, in order of calls."""
    outputs, handles = {}, []
    for path, cell in pipeline.model.cells_and_names():

        def keep(_cell, _inputs, output, path=path):
            value = output[-1 if "embedders.1" in path else 1] if isinstance(output, tuple) else output
            outputs.setdefault(path, []).append(value.asnumpy())

        handles.append(cell.register_forward_hook(keep))
    latents, ids, ids_2, sizes, image = arguments
    embeddings = pipeline.encode_ids(ids, ids_2)
    vector = pipeline.vector(embeddings.pooled, sizes)
    time = mindspore.Tensor(np.full(2, 334.0))
    pipeline.model.unet(mindspore.Tensor(latents), time, embeddings.context, vector)
    pipeline.model.vae.encode(mindspore.Tensor(image))
    pipeline.model.vae.decode(mindspore.Tensor(latents))
    for handle in handles:
        handle.remove()
    return outputs


def test_every_row_agrees(reference, pipelines, mindspore):
    from mindone_sdxl.names import module_table

    rng = np.random.default_rng(9)
    pipeline = pipelines["float64"]
    ids, ids_2 = pipeline.tokenize(["a cat", "the " * 90])
    sizes = np.array([[131, 104, 3, 5, 96, 80], [1031, 1999, 7, 0, 1024, 512]], dtype=np.float64)
    arguments = widened(rng, 2, 4, 8, 12), ids, ids_2, sizes, widened(rng, 1, 3, 40, 24)
    theirs, ours = record_reference(reference, arguments), record_native(pipeline, arguments, mindspore)
    worst = {}
    for entry in module_table(pipeline.config):
        expected, got = theirs[entry.diffusers], ours[entry.native]
        expected = expected if entry.call is None else [expected[entry.call]]
        assert len(expected) == len(got), entry
        if entry.part is not None:
            got = [np.split(value, entry.part[1], axis=-1)[entry.part[0]] for value in got]
        worst[entry] = max(distance(other, one) for one, other in zip(expected, got, strict=True))
    largest = max(worst, key=worst.get)
    assert worst[largest] <= 1e-12, largest
