"""The arithmetic on two arrays: how far apart they are, and where."""
