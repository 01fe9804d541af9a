"""The comparer: `compare` measures and judges traces, `judge` judges a saved result again."""

from parity.compare.comparison import compare
from parity.compare.judge import judge
from parity.compare.rules import Rule
from parity.compare.rules import load as load_tolerances
from parity.compare.summary import failing, is_excused

__all__ = ["Rule", "compare", "failing", "is_excused", "judge", "load_tolerances"]
