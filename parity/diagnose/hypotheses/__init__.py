"""Hypotheses by family. Each function looks at one thing that wants an explanation and yields what could be wrong.

They use digests, attributes and recorded tensors only; nothing says what was planted. `parity.diagnose.kinds` says which
function belongs to which kind of cause, and in which order they are asked.
"""
