"""The candidate `mindone`: the package of that name on PyPI."""
