"""A harness that says where two implementations of one model first disagree, by how much, and why."""

__version__ = "0.1.0"
