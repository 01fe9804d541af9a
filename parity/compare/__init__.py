"""The comparer: `compare` measures and judges traces, `judge` judges a saved result again."""

from parity.compare.comparison import compare
from parity.compare.judge import judge
from parity.compare.rules import Rule
from parity.compare.rules import load as load_tolerances
from parity.compare.several import folder_name, join, split
from parity.compare.summary import failing, is_excused

__all__ = [
    "Rule", "compare", "failing", "folder_name", "is_excused", "join", "judge", "load_tolerances", "split",
]  # fmt: skip
