"""The harness must say no when it should."""
