"""The reference `sgm`: hooks on Stability-AI's own package, and its float64 twin."""
