"""The candidate `gm`: the original MindSpore program of Stable Diffusion XL."""
