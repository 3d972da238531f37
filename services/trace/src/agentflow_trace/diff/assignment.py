"""The best one-to-one assignment by score, and a cheap one for many items. Pure and deterministic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EXACT_MAX: Final = 48  # items on a side for which the best assignment is found; it takes their number to the third


def assign(scores: Mapping[tuple[int, int], int], least: int) -> list[tuple[int, int]]:
    """Returns pairs (row, column) with the greatest sum of scores, each of at least `least`.

    scores: by pair; a pair without a score is not one. Above EXACT_MAX rows or columns the best pairs are taken first,
    which may be a little worse.
    """
    good = {pair: score for pair, score in scores.items() if score >= least}
    rows, columns = sorted({row for row, _ in good}), sorted({column for _, column in good})
    if max(len(rows), len(columns)) > EXACT_MAX:
        return _greedy(good)
    if len(rows) > len(columns):
        return sorted((row, column) for column, row in assign({(c, r): s for (r, c), s in good.items()}, least))
    if not rows:
        return []
    # a pair below the bound is worth nothing, so it never displaces a good one
    costs = [[-good.get((row, column), 0) for column in columns] for row in rows]
    pairs = [(rows[number], columns[other]) for number, other in enumerate(_hungarian(costs))]
    return [pair for pair in pairs if pair in good]


def _greedy(scores: Mapping[tuple[int, int], int]) -> list[tuple[int, int]]:
    rows: set[int] = set()
    columns: set[int] = set()
    pairs: list[tuple[int, int]] = []
    for row, column in sorted(scores, key=lambda pair: (-scores[pair], pair)):
        if row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
            pairs.append((row, column))
    return sorted(pairs)


def _hungarian(costs: list[list[int]]) -> list[int]:
    """Returns the column of each row with the least sum (Kuhn and Munkres). Rows are at most as many as columns."""
    rows, columns = len(costs), len(costs[0])
    endless = 1 << 60
    of_row, of_column = [0] * (rows + 1), [0] * (columns + 1)
    match = [0] * (columns + 1)
    way = [0] * (columns + 1)
    for row in range(1, rows + 1):
        match[0] = row
        at = 0
        least = [endless] * (columns + 1)
        used = [False] * (columns + 1)
        while match[at]:
            used[at] = True
            line, delta, following = costs[match[at] - 1], endless, 0
            for column in range(1, columns + 1):
                if used[column]:
                    continue
                reduced = line[column - 1] - of_row[match[at]] - of_column[column]
                if reduced < least[column]:
                    least[column], way[column] = reduced, at
                if least[column] < delta:
                    delta, following = least[column], column
            for column in range(columns + 1):
                if used[column]:
                    of_row[match[column]] += delta
                    of_column[column] -= delta
                else:
                    least[column] -= delta
            at = following
        while at:
            match[at] = match[way[at]]
            at = way[at]
    result = [0] * rows
    for column in range(1, columns + 1):
        if match[column]:
            result[match[column] - 1] = column - 1
    return result
