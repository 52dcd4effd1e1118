"""Connected components: which ids go together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def classes(count: int, edges: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """For each id the smallest one that it is connected with (int64 [count]).

    Each round hangs the larger root of every edge below the smaller one, and shortens all paths: few rounds, each on whole arrays.
    """
    parent = np.arange(count)
    if not edges:
        return parent
    one, two = (np.concatenate([edge[side] for edge in edges]) for side in (0, 1))
    while True:
        a, b = parent[one], parent[two]
        if (apart := a != b).any():
            np.minimum.at(parent, np.maximum(a, b)[apart], np.minimum(a, b)[apart])
            one, two = one[apart], two[apart]
        else:
            return parent
        while (parent[parent] != parent).any():
            parent = parent[parent]
