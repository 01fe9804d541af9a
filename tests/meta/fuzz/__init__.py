"""Altered inputs of every kind: each ends in one line of error and exit code 2, or in an honest verdict."""
