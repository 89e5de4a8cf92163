"""Colourings: which columns (or rows) of a sparse matrix one sweep can compute together.

    columns     columns of one colour share no row: distance-2 colouring of the columns of the
                bipartite graph (Curtis, Powell, Reid, J. Inst. Maths Applics 13, 1974)
    symmetric   every entry (i, j) stands alone in row i among the columns of j's colour, or alone
                in row j among those of i's colour; star colourings have this property (Coleman,
                Moré, Math. Programming 28, 1984)

Gebremedhin, Manne, Pothen, What color is your Jacobian?, SIAM Review 47, 2005.

A colouring is an int32 array with one colour per column, -1 for an empty column. Finding the fewest
colours is NP-hard; these are greedy, deterministic, and start with the one cheap guess that is
optimal for bands: column number modulo width.
"""

from __future__ import annotations

import numpy as np

from symgrad.sparse.pattern import Pattern

_GUESSES = 4  # moduli tried from the lower bound upwards
_GREEDY_ENTRIES = 2_000_000  # beyond, a Python loop must not look for one colour less
_STAR_WORK = 2_000_000  # steps that the star colouring, a Python loop, may take
_MOST_HUBS = 64


def transposed(pattern: Pattern) -> tuple[Pattern, np.ndarray]:
    """The pattern of the transpose, and for each of its entries the number of the entry here."""
    order = np.argsort(pattern.indices, kind="stable")
    counts = np.bincount(pattern.indices, minlength=pattern.shape[1])
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(pattern.indptr.dtype)
    return Pattern(pattern.shape[::-1], indptr, pattern.rows()[order]), order


def column_colouring(pattern: Pattern) -> np.ndarray:
    """Colours of the columns such that no row has two entries of one colour: int32 [columns]."""
    return _columns(pattern.rows(), pattern.indices, pattern.shape)


def symmetric_colouring(pattern: Pattern) -> np.ndarray:
    """Colours for direct recovery of a matrix with symmetric pattern: int32 [columns].

    The best of: a column colouring; one in which the columns with the most entries (of an arrow)
    have colours of their own; a star colouring, where a Python loop can afford it.
    """
    rows, columns, shape = pattern.rows(), pattern.indices, pattern.shape
    degrees = np.diff(pattern.indptr)
    hubs = _hubs(pattern, degrees)
    if len(hubs):
        is_hub = np.zeros(shape[1], bool)
        is_hub[hubs] = True
        kept = ~(is_hub[rows] | is_hub[columns])
        best = _columns(rows[kept], columns[kept], shape)
        # A column with entries in rows of hubs only is read in its own row: any colour will do.
        best[(best < 0) & (degrees > 0)] = 0
        best[hubs] = -1
        best[hubs] = best.max(initial=-1) + 1 + np.arange(len(hubs))
    else:
        best = _columns(rows, columns, shape)
    # For a star colouring every neighbour's neighbours are looked at, twice.
    work = int(np.sum(degrees.astype(np.int64)[columns] * 4, dtype=np.int64))
    if best.max(initial=-1) + 1 > 3 and work <= _STAR_WORK:
        star = _star(pattern)
        if star.max() < best.max():
            best = star
    return best


def _hubs(pattern: Pattern, degrees: np.ndarray) -> np.ndarray:
    """Columns that pay for a colour of their own: the k largest for the k with the lowest bound."""
    order = np.argsort(-degrees, kind="stable")
    ordinal = np.empty(len(order), np.int64)
    ordinal[order] = np.arange(len(order))
    best, chosen = int(degrees.max(initial=0)), 0
    k = 1
    while k < min(_MOST_HUBS, len(order)):
        if degrees[order[k]] < best:  # the next one alone would need that many
            kept = (ordinal[pattern.rows()] >= k) & (ordinal[pattern.indices] >= k)
            width = np.bincount(pattern.indices[kept], minlength=1).max()
            if k + width < best:
                best, chosen = int(k + width), k
        k += 1 if k < 8 else k // 4
    return order[:chosen]


def _columns(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A column colouring of entries that are sorted by row."""
    used = np.zeros(shape[1], bool)
    used[columns] = True
    width = int(np.bincount(rows, minlength=1).max())
    if not len(columns):
        return np.full(shape[1], -1, np.int32)
    number = np.cumsum(used) - 1  # among the columns that have entries
    if width == number[-1] + 1:  # a full row: every column alone
        return np.where(used, number, -1).astype(np.int32)
    best = None
    for modulus in range(width, width + _GUESSES):
        if not _repeats(rows, (number % modulus)[columns], modulus):
            best = np.where(used, number % modulus, -1).astype(np.int32)
            break
    if best is not None and (modulus == width or len(columns) > _GREEDY_ENTRIES):
        return best
    greedy = _greedy(rows, columns, shape)
    return greedy if best is None or greedy.max() < best.max() else best


def _repeats(rows: np.ndarray, colours: np.ndarray, modulus: int) -> bool:
    """Whether a row has two entries of one colour."""
    keys = rows.astype(np.int64) * modulus + colours
    seen = np.zeros(int(keys[-1] // modulus + 1) * modulus, bool)
    seen[keys] = True
    return bool(np.count_nonzero(seen) < len(keys))


def _greedy(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Columns in natural order, each with the lowest colour free in all of its rows.

    A row's taken colours are the bits of one integer: time in proportion to the entries.
    """
    order = np.argsort(columns, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=shape[1]))]).tolist()
    by_column = rows[order].tolist()
    taken = [0] * shape[0]
    colours = [-1] * shape[1]
    for column in range(shape[1]):
        mine = by_column[starts[column] : starts[column + 1]]
        if not mine:
            continue
        mask = 0
        for row in mine:
            mask |= taken[row]
        free = ~mask & (mask + 1)  # the lowest zero bit
        for row in mine:
            taken[row] |= free
        colours[column] = free.bit_length() - 1
    return np.array(colours, np.int32)


def _star(pattern: Pattern) -> np.ndarray:
    """Greedy star colouring, largest degree first: no path of four vertices has only two colours.

    The last vertex of such a path to be coloured is an end or a middle of it; each is checked.
    """
    n = pattern.shape[0]
    indptr, indices = pattern.indptr.tolist(), pattern.indices.tolist()
    neighbours = [[j for j in indices[indptr[i] : indptr[i + 1]] if j != i] for i in range(n)]
    colours = [-1] * n
    for v in sorted(range(n), key=lambda i: -len(neighbours[i])):
        if indptr[v] == indptr[v + 1]:
            continue
        near = [w for w in neighbours[v] if colours[w] >= 0]
        count: dict[int, int] = {}
        for w in near:
            count[colours[w]] = count.get(colours[w], 0) + 1
        forbidden = set(count)
        for w in near:
            colour = colours[w]
            middle = count[colour] > 1  # a - v - w - x with a and w of one colour
            for x in neighbours[w]:
                if x != v and colours[x] >= 0 and colours[x] not in forbidden:
                    if middle or any(y != w and colours[y] == colour for y in neighbours[x]):
                        forbidden.add(colours[x])  # v - w - x - y with w and y of one colour
        colour = 0
        while colour in forbidden:
            colour += 1
        colours[v] = colour
    return np.array(colours, np.int32)


def lone(pattern: Pattern, colours: np.ndarray) -> np.ndarray:
    """For every entry whether it is the only one of its column's colour in its row."""
    count = int(colours.max(initial=-1)) + 1
    keys = pattern.rows().astype(np.int64) * max(1, count) + colours[pattern.indices]
    if pattern.shape[0] * max(1, count) <= 16 * max(1, len(keys)):
        times = np.bincount(keys, minlength=1)[keys]
    else:
        _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        times = counts[inverse]
    alone: np.ndarray = times == 1
    return alone
