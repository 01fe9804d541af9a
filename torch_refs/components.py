"""What Stable Diffusion XL is made of, under diffusers' names, which both references record."""

from __future__ import annotations

from typing import Final

from parity.components import WHOLE, Components

__all__ = ["COMPONENTS"]

COMPONENTS: Final = Components(
    stages={
        "tokenizer": "tokens",
        "tokenizer_2": "tokens",
        "text_encoder": "conditioning",
        "text_encoder_2": "conditioning",
        "encode_prompt": "conditioning",
        "add_time_ids": "conditioning",
        "scheduler.set_timesteps": "schedule",
        "prepare_latents": "schedule",
        "unet": "unet",
        "guidance": "guidance",
        "scheduler.scale_model_input": "sampler",
        "scheduler.step": "sampler",
        "scheduler": "schedule",
        "vae": "vae",
        "postprocess": "image",
        WHOLE: "image",
    },
    functions={"vae.decode": ("vae.post_quant_conv", "vae.decoder"), "vae.encode": ("vae.encoder", "vae.quant_conv")},
    joins={"encode_prompt": ("text_encoder", "text_encoder_2")},
)
