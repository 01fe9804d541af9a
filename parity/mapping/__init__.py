"""The alignment of a candidate that has no table: proposed from two traces, edited by a person, applied by the comparer.

`parity.mapping.propose` says what is probably what and how sure it is, `encode` and `read` keep that in a file, and
`mapped` shows the candidate's trace under the reference's names, without what nobody is sure of. Proposing
needs scipy.optimize, which takes longer to import than the rest of a comparison: whoever proposes imports that module.
"""

from parity.mapping.mapped import excluded, explain, mapped
from parity.mapping.table import THRESHOLD, Counterpart, Mapping, encode, read

__all__ = ["THRESHOLD", "Counterpart", "Mapping", "encode", "excluded", "explain", "mapped", "read"]
