"""Why the two sides differ: hypotheses from audits and tensors, confirmed by a replay with the repair applied.

1. What the platform explains is flagged and no longer fails (`platform`).
2. Each thing that differs (`evidence`) is shown to the kinds of causes (`kinds`) in their order; a function of
   `hypotheses` looks at it and yields a `Hypothesis`, and the first becomes the cause (`search`).
3. One counterfactual replay applies all repairs (`confirmation`).

Nothing here knows what was planted: the input is the result and the two traces. A further kind of cause is a function, its
row in `kinds`, and its page in docs/causes.
"""

from __future__ import annotations

from parity.diagnose.diagnosis import diagnose
from parity.diagnose.search import causes_of

__all__ = ["causes_of", "diagnose"]
