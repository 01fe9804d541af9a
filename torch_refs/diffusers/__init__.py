"""The reference `diffusers`: hooks on Stable Diffusion XL pipelines of that package, and its float64 twin."""
