"""The comparer: `compare` measures and judges traces, `judge` judges a saved result again.

A comparison goes through these modules, in this order:

- `comparison`: `compare`, the way from traces to a result, and what it refuses.
- `several`: which traces are of one candidate, and how the results of several are joined and split.
- `references`: what changes where a second recording takes the candidate's place.
- `plan`: which run is held against which, and which address of it; what is missing, unexpected or excluded.
- `work`: the first pass over every pair, small ones together and large ones in threads.
- `pairing`: a pair with its numbers, types and flags out of what the pass found.
- `floor`: the error that a correct implementation has anyway, measured or modelled.
- `examine`: the second look at pairs that fail or come near their limit: where the error is, and what it looks like.
- `judge`: the verdict of a pair, by a rule or by its limit.
- `rules` and `predicate`: rules of a case or a file, and the language of what they require.
- `limits`: every number of the judge.
- `platform`: operators that err more on the candidate's platform, and the modules in which they run.
- `flags`: what fails only because of another pair, and what only a replay can decide.
- `coverage`: how much of the reference was compared, and why the rest was not.
- `price`: what the differences cost at the final latents and the image.
- `summary`: the verdict of the whole, its stages and its first divergence.

`calibrate` goes the other way: it proposes rules from what a comparison of healthy traces measured. The arithmetic on
two arrays is `parity.distance`; what is known of a pair is `parity.result.MEASURES`.
"""

from parity.compare.comparison import compare
from parity.compare.judge import judge
from parity.compare.rules import Rule, load_excludes
from parity.compare.rules import load as load_tolerances
from parity.compare.several import awaits_decision, folder_name, join, split
from parity.compare.summary import failing, is_excused

__all__ = [
    "Rule", "awaits_decision", "compare", "failing", "folder_name", "is_excused", "join", "judge", "load_excludes", "load_tolerances", "split",
]  # fmt: skip
