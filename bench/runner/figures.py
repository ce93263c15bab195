# SPDX-License-Identifier: MIT
"""The arithmetic of a comparison.

Candidates run interleaved, so round i of one and round i of another saw the same machine: their
ratio is taken round by round. The interval is that of the median by order statistics (the sign
test): no assumption on the noise is needed. With five rounds it is simply the smallest and largest
ratio, and holds the true median in 94 of 100 comparisons.
"""

import math
import statistics

CONFIDENCE = 0.93
FEWEST_ROUNDS = 5


def order_interval(values):
    """The narrowest symmetric pair of order statistics that covers the median often enough."""
    ordered = sorted(values)
    count = len(ordered)
    skip = 0
    while skip + 1 < count / 2:
        outside = 2 * sum(math.comb(count, i) for i in range(skip + 2)) / 2**count
        if 1 - outside < CONFIDENCE:
            break
        skip += 1
    return ordered[skip], ordered[count - 1 - skip]


def compare(values, reference):
    """The ratio of `values` to `reference`, taken round by round, or None without a reference."""
    pairs = [(a, b) for a, b in zip(values, reference) if a is not None and b]
    if not pairs:
        return None
    ratios = [a / b for a, b in pairs]
    low, high = order_interval(ratios)
    if len(ratios) < FEWEST_ROUNDS:
        verdict = "too few rounds"
    elif low <= 1 <= high:
        verdict = "no significant difference"
    else:
        verdict = "faster" if high < 1 else "slower"
    return {"ratio": statistics.median(ratios), "low": low, "high": high, "verdict": verdict}


def geometric_mean(ratios):
    positive = [ratio for ratio in ratios if ratio is not None and ratio > 0]
    return math.exp(statistics.fmean(map(math.log, positive))) if positive else None
