"""einsum: the one multilinear operation.

matmul, dot, outer, trace, diagonal, sums of products and products with identity matrices are all
this node. Its derivative is this node again with one factor replaced, nested ones merge, and
identity ("delta") factors contract away by renaming an index: that is what turns a Hessian into a
closed tensor expression (Laue, Mitterreiter, Giesen, NeurIPS 2018 and AAAI 2020).

Labels are small integers, renumbered in order of first appearance. `inputs` has one tuple of
labels per factor, `output` the labels that remain, each at most once. A label that is in no input
cannot occur; a label repeated inside one factor means its diagonal.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from symgrad.errors import DtypeError, ShapeError
from symgrad.expr.node import ARRAY, CONST, EYE, Expr, bind, const, const_value, eye
from symgrad.expr.op import Kind, Op, register
from symgrad.ops.linear import broadcast, counted, ones_at, permute, sum_
from symgrad.ops.readings import reads_einsum

Labels = tuple[int, ...]
Args = tuple[Expr, ...]
_MOST_LOOKED_AT = 4096  # elements of a captured factor whose zeros count in a support
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def einsum(factors: list[Expr] | Args, inputs: Any, output: Any) -> Expr:
    """Σ over labels not in `output` of the product of `factors` indexed by `inputs`.

    Labels may be any hashable values. Raises ShapeError if a label has two sizes.
    """
    number: dict[Any, int] = {}
    renamed = tuple(tuple(number.setdefault(k, len(number)) for k in labels) for labels in inputs)
    missing = [k for k in output if k not in number]
    if missing:
        raise ShapeError(f"einsum: output labels {missing} are in no operand")
    return bind("einsum", *factors, attrs=(renamed, tuple(number[k] for k in output)))


def parse(spec: str, ranks: list[int]) -> tuple[list[list[Any]], list[Any]]:
    """Inputs and output of NumPy's notation, ellipses and implicit output included."""
    spec = spec.replace(" ", "")
    left, arrow, right = spec.partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ShapeError(f"einsum: {spec!r} names {len(terms)} operands, got {len(ranks)}")
    inputs: list[list[Any]] = []
    longest = 0
    for term, rank in zip(terms, ranks, strict=True):
        head, dots, tail = term.partition("...")
        named = len(head) + len(tail)
        if (dots and rank < named) or (not dots and rank != named):
            raise ShapeError(f"einsum: term {term!r} of {spec!r} for an array of rank {rank}")
        if not all(ch in _LETTERS for ch in head + tail):
            raise ShapeError(f"einsum: {spec!r} has labels that are not letters")
        count = rank - named
        longest = max(longest, count)
        inputs.append([*head, *(("...", k) for k in range(-count, 0)), *tail])
    ellipsis = [("...", k) for k in range(-longest, 0)]
    if arrow:
        head, dots, tail = right.partition("...")
        output = [*head, *(ellipsis if dots else []), *tail]
    else:
        flat = [k for term in inputs for k in term if isinstance(k, str)]
        output = ellipsis + sorted(k for k in set(flat) if flat.count(k) == 1)
    if len(set(output)) != len(output):
        raise ShapeError(f"einsum: {spec!r} repeats an output label")
    return inputs, output


def sizes(factors: Args, inputs: tuple[Labels, ...]) -> dict[int, int]:
    """The size of every label."""
    result: dict[int, int] = {}
    for factor, labels in zip(factors, inputs, strict=True):
        if factor.ndim != len(labels):
            raise ShapeError(f"einsum: labels {labels} for an array of shape {factor.shape}")
        for k, n in zip(labels, factor.shape, strict=True):
            if result.setdefault(k, n) != n:
                raise ShapeError(
                    f"einsum: one index has sizes {result[k]} and {n} in operands of shapes "
                    f"{[f.shape for f in factors]}"
                )
    return result


def spell(
    inputs: tuple[Labels, ...], output: Labels, letters: str = "ijklmnopqrstuvwxyzabcdefgh"
) -> str:
    """The labels in NumPy's notation."""
    left = ",".join("".join(letters[k] for k in labels) for labels in inputs)
    return f"{left}->{''.join(letters[k] for k in output)}"


def _infer(*args: Any) -> tuple[tuple[int, ...], str]:
    *factors, inputs, output = args
    if len(inputs) != len(factors) or not factors:
        raise ShapeError(f"einsum: {len(inputs)} terms for {len(factors)} operands")
    size = sizes(tuple(factors), inputs)
    for f in factors:
        if f.dtype != factors[0].dtype:
            raise DtypeError(f"einsum: dtypes {[f.dtype for f in factors]} must be equal")
    if factors[0].dtype == "bool":
        raise DtypeError("einsum: convert bool to a number first")
    if len(set(output)) != len(output) or any(k not in size for k in output):
        raise ShapeError(f"einsum: output {output} of {inputs}")
    return tuple(size[k] for k in output), factors[0].dtype


def _evaluate(*args: Any) -> Any:
    *factors, inputs, output = args
    operands: list[Any] = []
    for factor, labels in zip(factors, inputs, strict=True):
        operands += [factor, list(labels)]
    return np.einsum(*operands, list(output), optimize=len(factors) > 2)


def _normalize(args: Args, attrs: tuple[Any, ...]) -> Expr | None:
    inputs, output = attrs
    size = sizes(args, inputs)
    if len(args) == 1 and args[0].op is EYE and set(inputs[0]) == set(output) and len(output) == 2:
        return args[0]  # symmetric
    if len(args) == 1 and args[0].op is not EYE:
        labels = inputs[0]
        if len(set(labels)) == len(labels):  # nothing but a sum and a permutation
            kept = [k for k in labels if k in output]
            summed = sum_(args[0], tuple(i for i, k in enumerate(labels) if k not in output))
            return permute(summed, tuple(kept.index(k) for k in output))
    return (
        _contract_deltas(args, inputs, output, size)
        or _pull_constants(args, inputs, output)
        or _order_equal_factors(args, inputs, output)
    )


def _order_equal_factors(args: Args, inputs: tuple[Labels, ...], output: Labels) -> Expr | None:
    """A factor that occurs twice has two interchangeable terms: they stand in one fixed order.

    Otherwise the two halves of a derivative of x_i x_j would not be seen to be equal. Terms are
    compared by what their labels connect, refined as in graph canonisation (Weisfeiler-Leman);
    labels that this cannot tell apart are symmetric in all but contrived products.
    """
    first = {f: k for k, f in reversed(list(enumerate(args)))}
    if len(first) == len(args):
        return None
    same = [first[f] for f in args]
    colour: dict[int, Any] = {
        k: (0, output.index(k)) if k in output else (1,) for t in inputs for k in t
    }
    for _ in range(len(colour)):
        seen: dict[int, list[Any]] = {k: [] for k in colour}
        for factor, labels in zip(same, inputs, strict=True):
            term = tuple(colour[k] for k in labels)
            for axis, k in enumerate(labels):
                seen[k].append((factor, axis, term))
        refined = {k: (colour[k], tuple(sorted(seen[k]))) for k in colour}
        rank = {c: n for n, c in enumerate(sorted(set(refined.values())))}
        new = {k: (rank[refined[k]],) for k in colour}
        if len(set(new.values())) == len(set(colour.values())):
            colour = new
            break
        colour = new
    places: dict[int, list[int]] = {}
    for position, factor in enumerate(same):
        places.setdefault(factor, []).append(position)
    terms = list(inputs)
    for positions in places.values():
        ordered = sorted((inputs[p] for p in positions), key=lambda t: [colour[k] for k in t])
        for p, labels in zip(positions, ordered, strict=True):
            terms[p] = labels
    number: dict[int, int] = {}
    renamed = tuple(tuple(number.setdefault(k, len(number)) for k in labels) for labels in terms)
    if renamed == inputs:
        return None
    return einsum(args, renamed, tuple(number[k] for k in output))


def _contract_deltas(
    args: Args, inputs: tuple[Labels, ...], output: Labels, size: dict[int, int]
) -> Expr | None:
    """δ_ab f_b… = f_a…: an identity factor with a summed label disappears by renaming."""
    for position, (factor, labels) in enumerate(zip(args, inputs, strict=True)):
        if factor.op is not EYE:
            continue
        a, b = labels
        rest = [i for i in range(len(args)) if i != position]
        elsewhere = {k for i in rest for k in inputs[i]}
        if a == b:  # δ_aa = 1 for each a
            if a in elsewhere or a not in output:
                return _without(args, inputs, output, rest, {}, size, {a})
            continue
        for gone, kept in ((b, a), (a, b)):
            if gone not in output and (gone in elsewhere or kept in elsewhere or kept in output):
                if gone in elsewhere:
                    return _without(args, inputs, output, rest, {gone: kept}, size, {kept})
                # Σ_gone δ = 1
                return _without(args, inputs, output, rest, {}, size, {kept})
    return None


def _without(
    args: Args,
    inputs: tuple[Labels, ...],
    output: Labels,
    rest: list[int],
    rename: dict[int, int],
    size: dict[int, int],
    needed: set[int],
) -> Expr:
    """The einsum of the factors in `rest` with labels renamed; labels left over become ones."""
    factors = [args[i] for i in rest]
    labels = [tuple(rename.get(k, k) for k in inputs[i]) for i in rest]
    present = {k for term in labels for k in term}
    dtype = args[0].dtype
    extra = sorted(k for k in needed if k not in present)
    scale = 1
    kept_output = tuple(k for k in output if k in present)
    for k in extra:
        if k not in output:
            scale *= size[k]
    if not factors:
        shape = tuple(size[k] for k in output)
        return const(scale, dtype, shape)
    result = einsum(factors, labels, kept_output)
    if scale != 1:
        result = result * scale
    if kept_output != output:
        shape = tuple(size[k] for k in output)
        result = broadcast(result, shape, tuple(output.index(k) for k in kept_output))
    return result


def _pull_constants(args: Args, inputs: tuple[Labels, ...], output: Labels) -> Expr | None:
    """A uniform factor whose labels others carry too becomes one multiplication of the result."""
    for position, (factor, labels) in enumerate(zip(args, inputs, strict=True)):
        # a moderate factor only: 0, infinities and huge numbers would change which sums overflow
        if factor.op is CONST and len(args) > 1 and 2**-64 <= abs(const_value(factor)) <= 2**64:
            rest = [i for i in range(len(args)) if i != position]
            elsewhere = {k for i in rest for k in inputs[i]}
            if set(labels) <= elsewhere:
                result = einsum([args[i] for i in rest], [inputs[i] for i in rest], output)
                scaled: Expr = result * const_value(factor).item()
                return scaled
    return None


def _vjp(ct: Expr, out: Expr, args: Args, attrs: tuple[Any, ...]) -> list[Expr | None]:
    inputs, output = attrs
    size = sizes(args, inputs)
    result: list[Expr | None] = []
    for position, (factor, labels) in enumerate(zip(args, inputs, strict=True)):
        others = [i for i in range(len(args)) if i != position]
        factors = [ct, *(args[i] for i in others)]
        terms: list[Labels] = [output, *(inputs[i] for i in others)]
        # A repeated label (a diagonal) becomes a delta between two names of that axis.
        names: list[int] = []
        fresh = len(size)
        for k in labels:
            if k in names:
                factors.append(eye(size[k], factor.dtype))
                terms.append((k, fresh))
                names.append(fresh)
                fresh += 1
            else:
                names.append(k)
        present = {k for term in terms for k in term}
        kept = [k for k in names if k in present]
        partial = einsum(factors, terms, kept)
        if kept != names:  # a label that only this factor had was summed: its cotangent is constant
            partial = broadcast(partial, factor.shape, tuple(names.index(k) for k in kept))
        result.append(partial)
    return result


def _jvp(tangents: list[Expr | None], out: Expr, args: Args, attrs: tuple[Any, ...]) -> Expr:
    total: Expr | None = None
    for position, tangent in enumerate(tangents):
        if tangent is not None:
            term = einsum((*args[:position], tangent, *args[position + 1 :]), *attrs)
            total = term if total is None else total + term
    assert total is not None
    return total


def _batch(args: Args, batched: list[bool], attrs: tuple[Any, ...], size: int) -> Expr:
    inputs, output = attrs
    terms = [("batch", *t) if b else t for t, b in zip(inputs, batched, strict=True)]
    return einsum(args, terms, ("batch", *output))


def _support(args: Args, attrs: tuple[Any, ...], supports: Any) -> Expr | None:
    """Where the sum has a term without a zero factor."""
    supports = [
        None if f.op is CONST or f.op is ARRAY and f.size > _MOST_LOOKED_AT else s
        for f, s in zip(args, supports, strict=True)
    ]  # fmt: skip
    if all(s is None for s in supports):
        return None
    ones = [f if f.op is EYE else ones_at(s, f) for f, s in zip(args, supports, strict=True)]
    return counted(einsum(ones, *attrs))


def _nonnegative(args: Args, attrs: tuple[Any, ...], which: Any) -> bool:
    """All factors are, or stand there twice: Σ xᵢ²."""
    terms = list(zip(args, attrs[0], strict=True))
    return all(w or terms.count(t) % 2 == 0 for t, w in zip(terms, which, strict=True))


EINSUM = register(
    Op(
        "einsum", Kind.EINSUM, _infer, _evaluate, ("inputs", "output"),
        vjp=_vjp, jvp=_jvp, batch=_batch, normalize=_normalize, support=_support,
        nonnegative=_nonnegative, cost=2, reads=reads_einsum,
    )
)  # fmt: skip
