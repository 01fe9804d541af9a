"""The arithmetic on two arrays: how far apart they are, and where; of the harness it imports `parity.dtypes` alone.

A pair has an expected tensor, a candidate's, and perhaps the reference's own in its working type. One pass over it
(`measure`, and `batch` for small pairs by the hundred) adds up `sums.Moments` of each stream of numbers, block by block;
every distance is a property of what it returns:

    >>> import numpy as np
    >>> from parity.distance.measure import measure
    >>> from parity.distance.tensor import Tensor
    >>> x, c = (Tensor(np.array(values), "float64") for values in ([3.0, 4.0], [3.0, 4.5]))
    >>> first, second = (measure(Tensor(x.array[part], x.dtype), Tensor(c.array[part], c.dtype)) for part in (0, 1))
    >>> (first + second) == measure(x, c), measure(x, c).rel_l2
    (True, 0.1)

A second look, for pairs that fail or come near their limit, asks where the error sits (`where`), how many representable
numbers lie between (`ulp`), and whether all values are those of a half type (`grid`). What is compared by equality is in
`exact`.

A further distance stands in one file:

- one that follows from sums that are there, or from a further one that adds, is a property of `sums.Distances` (with a
  field of `sums.Moments`); a compiled loop (`compiled.Kept`) may follow later, until then numpy does all tensors;
- one that needs to look at the arrays by itself is a function over `blocks.blocks_of`, as those of `ulp` and `grid` are.

`parity.result.MEASURES` then names it.
"""
