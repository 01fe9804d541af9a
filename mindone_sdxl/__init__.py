"""Stable Diffusion XL in MindSpore: the networks, the samplers, the weights and a command line.

`mindone_sdxl.pipeline.StableDiffusionXL` is the entry point. `config`, `names`, `tokenizer`, `discretization`,
`schedule` and `weights` import no framework.
"""
