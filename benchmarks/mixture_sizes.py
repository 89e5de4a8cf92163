"""Time per point of the mixture's gradient from a thousand points to a million, beside C by hand.

    python benchmarks/mixture_sizes.py [largest n]

JAX takes part up to 100,000 points: it stores several arrays of n x K x D numbers. Interleaved,
after results were compared; medians of CPU time, one thread.
"""

from __future__ import annotations

import statistics
import sys

import environment

environment.limit_threads(1)

import gmm  # noqa: E402
import harness  # noqa: E402

MIXTURES = ((2, 5), (10, 25))  # dimensions, components
POINTS = (1_000, 10_000, 100_000, 1_000_000)
MOST_FOR_JAX = 100_000
PEERS = ("symgrad", "C by hand", "JAX best")


def main() -> None:
    most = int(sys.argv[1]) if len(sys.argv) > 1 else POINTS[-1]
    print(f"{'ns per point':32}{PEERS[0]:>10}{'workspace':>12}", end="")
    print("".join(f"{peer:>12}{'ratio':>8}" for peer in PEERS[1:]))
    for D, K in MIXTURES:
        for n in (n for n in POINTS if n <= most):
            data = gmm.data(n, D, K)
            calls, expected = {}, None
            for peer in PEERS[:2] if n > MOST_FOR_JAX else PEERS:
                calls[peer], result, _ = harness.prepare(gmm.WORK.peers[peer], data)
                expected = result if expected is None else expected
                difference = harness.disagreement(result, expected)
                if difference > gmm.WORK.tolerance:
                    raise SystemExit(f"{peer}, n={n}, D={D}: disagrees by {difference:.1e}")
            rounds = harness.FEW_ROUNDS if n > MOST_FOR_JAX else harness.ROUNDS
            blocks = harness.interleave(calls, rounds)
            cpu = {p: statistics.median(t for t, _ in each) for p, each in blocks.items()}
            own = cpu[PEERS[0]]
            size = calls[PEERS[0]].func.cost().workspace
            row = f"n={n:,}, D={D}, K={K}"
            print(f"{row:32}{own / n * 1e9:10.1f}{size:12,}", end="")
            others = (p for p in calls if p != PEERS[0])
            columns = (f"{cpu[p] / n * 1e9:12.1f}{cpu[p] / own:8.2f}" for p in others)
            print("".join(columns), flush=True)


if __name__ == "__main__":
    main()
