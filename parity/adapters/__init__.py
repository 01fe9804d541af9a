"""Bases for adapters of programs that are not ours: say what the parts are and how a run goes, inherit the rest.

`parity.adapters.torch_.ModuleReference` makes a reference of a torch program, `parity.adapters.cells.CellCandidate` a
candidate of a MindSpore one. docs/adapters.md shows both in full.
"""

__all__: list[str] = []
