"""References on the torch side: diffusers, its float64 twin, and the tiny SDXL that the fixtures use."""
