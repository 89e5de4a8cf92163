"""Graphs for any size: what `sg.trace(f, sg.f64["n", "d"])` gives.

The function is traced at three sets of sizes. If the graphs have one structure, what differs
between them is a function of the sizes, which three numbers show: 1/n, n - 1, n d. Constants of
the graph become expressions over arguments that stand for the sizes; a formula is searched for one
of the three, and compared with all of them before it is shown (docs/decisions/0060).
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from symgrad import inspect
from symgrad.errors import ShapeError
from symgrad.expr.node import ARG, ARRAY, CONST, Expr, arg, bind, const, const_value
from symgrad.expr.op import Kind
from symgrad.expr.walk import rebuild, toposort, transform
from symgrad.forks import cached
from symgrad.graph import Graph
from symgrad.inspect.naming import subscript
from symgrad.ops.checks import apart
from symgrad.ops.linear import broadcast_to

# Of each name, in the three traces: far from each other and from the small numbers of formulas, and
# from powers of two, by which divisions are products.
NUMBERS = ((13, 19, 23), (29, 37, 43), (41, 47, 53), (53, 59, 61))
SMALL = 5  # numbers up to this are no sizes; positions are counted from a size this near
_CLOSE = 1e-13
_MOST_DENOMINATOR = 60

_RAISED = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")

Three = tuple[float, float, float]
Step = Callable[[Graph], Graph]


def of_all_sizes(
    shapes: Sequence[tuple[Any, ...]], make: Callable[[dict[str, int]], Graph]
) -> SizedGraph:
    """The graphs that `make` gives at three sets of sizes, as one.

    shapes : of the arguments, with the names of sizes in them

    Raises ShapeError where they differ in more than sizes.
    """
    names = list(dict.fromkeys([n for shape in shapes for n in shape if type(n) is str]))
    if len(names) > len(NUMBERS):
        raise ShapeError(f"{len(names)} names for sizes ({', '.join(names)}); at most "
                         f"{len(NUMBERS)} are compared")  # fmt: skip
    tall = [s[-2:] for s in shapes if len(s) > 1]  # more rows than columns: Xᵀ X has an inverse
    names.sort(key=lambda n: sum((s[0] == n) - (s[1] == n) for s in tall))
    first, second, third = [make({n: NUMBERS[k][t] for k, n in enumerate(names)}) for t in range(3)]
    return SizedGraph((first, second, third), tuple(names))


@dataclass(frozen=True)
class SizedGraph:
    """A graph whose arguments have names as sizes: formulas and listings that hold for every size.

    graphs : what was recorded at three sets of sizes
    names : what the sizes are called

    It can be simplified, differentiated and read. It cannot be called or compiled: code needs
    numbers, such as ``sg.compile(f, sg.f64[100, 3])``.

    Examples
    --------
    >>> import numpy as np, symgrad as sg
    >>> print(sg.trace(sg.grad(lambda x: np.mean(x * x)), sg.f64["n"]).simplify().formula())
    out = 2 x / n
    """

    graphs: tuple[Graph, Graph, Graph]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        taken = set(self.names) & set(self.graphs[0].arg_names)
        if taken:
            raise ShapeError(f"{sorted(taken)[0]!r} is an argument and a size: call one otherwise")
        self._same  # noqa: B018  (raises where the graphs differ)

    def simplify(self) -> SizedGraph:
        """As `Graph.simplify`."""
        return self._after(lambda graph: graph.simplify())

    def grad(self, *names: str | int) -> SizedGraph:
        """As `Graph.grad`."""
        return self._after(lambda graph: graph.grad(*names))

    def _after(self, step: Step) -> SizedGraph:
        first, second, third = map(step, self.graphs)
        return SizedGraph((first, second, third), self.names)

    def formula(self, form: str = "reader") -> str:
        """As `Graph.formula`, with the names of the sizes.

        Raises ShapeError where no text holds for every size.
        """
        return self._formula(form, False)

    def latex(self, form: str = "reader") -> str:
        """As `formula`, as LaTeX."""
        return self._formula(form, True)

    def __str__(self) -> str:
        first = self.graphs[0]
        return self._named(
            inspect.listing(first.args, self._outs[0], first.arg_names, first.out_names, first.name)
        )

    def __repr__(self) -> str:
        return f"<SizedGraph {self.graphs[0].name} of {', '.join(self.names)}>"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise ShapeError(f"{self!r} is for formulas; what is called needs numbers as sizes")

    # ---- how the three are one -----------------------------------------------------------------

    @cached
    def _same(self) -> list[tuple[Expr, Expr, Expr]]:
        """The nodes of the three graphs that correspond to each other."""
        found: dict[Expr, tuple[Expr, ...]] = {}
        keys = _Keys(self._numbers)
        roots = [keys.of(g.outs, t) for t, g in enumerate(self.graphs)]
        if not roots[0] == roots[1] == roots[2]:
            raise self._differ("of other kinds")
        waiting = list(zip(*[g.outs for g in self.graphs], strict=True))
        while waiting:
            three = waiting.pop()
            known = found.get(three[0])
            if known is None:
                found[three[0]] = three
                if three[0].op.kind in (Kind.CONTROL, Kind.ITEM):
                    raise self._differ("loops and branches, whose bodies are not compared")
                operands = [keys.operands(node, t) for t, node in enumerate(three)]
                waiting += list(zip(*operands, strict=True))
            elif known != three:
                raise self._differ(f"what {three[0].name} is used for")
        order = {node: k for k, node in enumerate(toposort(self.graphs[0].outs))}
        return [found[n] for n in sorted(found, key=order.__getitem__)]  # type: ignore[misc]

    def _differ(self, what: str) -> ShapeError:
        counts = ", ".join(f"{len(g.nodes)} operations at {_told(s)}"
                           for g, s in zip(self.graphs, self._numbers, strict=True))  # fmt: skip
        names = " and ".join(self.names)
        return ShapeError(
            f"{self.graphs[0].name}: what it records depends on {names} ({counts}; {what}), so no "
            "formula holds for every size. Write numbers as sizes, such as sg.f64[10]."
        )

    @property
    def _numbers(self) -> list[dict[str, int]]:
        return [{n: NUMBERS[k][t] for k, n in enumerate(self.names)} for t in range(3)]

    @cached
    def _symbols(self) -> dict[str, Expr]:
        """Arguments that stand for the sizes."""
        start = len(self.graphs[0].args)
        return {n: arg(start + k, (), "float64", n) for k, n in enumerate(self.names)}

    @cached
    def _outs(self) -> list[list[Expr]]:
        """The results of each graph, with expressions over the sizes in the place of constants."""
        fits: list[dict[Expr, Expr]] = [{}, {}, {}]
        for three in self._same:
            if three[0].op is CONST:
                values = tuple([float(const_value(n)) for n in three])
                if len(set(values)) > 1:
                    e = self._fitted(values)  # type: ignore[arg-type]
                    if e is None:
                        raise self._differ(f"the constants {', '.join(map(str, values))}")
                    for fit, node in zip(fits, three, strict=True):
                        fit[node] = broadcast_to(_typed(e, node.dtype), node.shape)
            elif three[0].op is ARRAY:
                self._compare([n.attrs[0].array for n in three])
        return [
            transform(
                apart(g.outs)[0], lambda n, given: rebuild(n, given) if given != n.args else n, fit
            )
            for g, fit in zip(self.graphs, fits, strict=True)
        ]

    def _compare(self, arrays: Sequence[np.ndarray]) -> None:
        small = arrays[0]
        inner = tuple(map(slice, small.shape))
        if not all(np.array_equal(a[inner], small, equal_nan=True) for a in arrays[1:]):
            raise self._differ("captured arrays with other contents")

    def _terms(self, values: Three) -> Terms | None:
        """The simplest expression over the sizes that has these values."""
        sizes = [tuple([s[n] for s in self._numbers]) for n in self.names]
        return next(_fits(values, sizes), None)

    def _fitted(self, values: Three) -> Expr | None:
        """`_terms` as a node."""
        total: Expr | None = None
        for c, factors in self._terms(values) or ():
            part = const(c)
            for base, e in factors:
                f = _power(self._base(base), e)
                part = f if part is const(1.0) else bind("multiply", part, f)
            total = part if total is None else bind("add", total, part)
        return total

    def _base(self, base: Base) -> Expr:
        log, parts, shift = base
        symbols = [self._symbols[self.names[at]] for at in parts]
        found = functools.reduce(lambda a, b: bind("add", a, b), symbols)
        if shift:
            found = bind("add", found, const(float(shift)))
        return bind("log", found) if log else found

    # ---- text ----------------------------------------------------------------------------------

    @cached
    def _found(self) -> Any:
        from symgrad.reader.form import read
        from symgrad.reader.sizes import Sibling, Sizes

        first = self.graphs[0]
        lengths: dict[int, Expr] = {}
        for three in self._same:
            for values in zip(*[n.shape for n in three], strict=True):
                if len(set(values)) > 1:
                    e = self._fitted(values)
                    if e is None or lengths.setdefault(values[0], e) is not e:
                        return None
        maps = [{t[0].shape[k]: t[j].shape[k] for t in self._same for k in range(t[0].ndim)}
                for j in (1, 2)]  # fmt: skip
        siblings = [
            Sibling(
                outs, dict(zip(first.args, g.args, strict=True)),
                {t[0]: t[j].attrs[0].array for t in self._same if t[0].op is ARRAY},
                lengths_, {self._symbols[n]: v for n, v in numbers.items()},
            )
            for j, (outs, g, lengths_, numbers) in enumerate(
                zip(self._outs[1:], self.graphs[1:], maps, self._numbers[1:], strict=True), 1)
        ]  # fmt: skip
        values_ = {self._symbols[n]: v for n, v in self._numbers[0].items()}
        sizes = Sizes(values_, lengths, siblings)
        return read(first.args, self._outs[0], first.arg_names, first.out_names, {}, sizes)

    def _formula(self, form: str, as_latex: bool) -> str:
        if form not in ("reader", "code"):
            raise ValueError(f'form: expected "reader" or "code", got {form!r}')
        first = self.graphs[0]
        if form == "reader" and self._found is not None and self._found.reading is not None:
            from symgrad.reader.form import latex, text

            told = (latex if as_latex else text)(self._found.reading)
        else:
            write = inspect.matrix_latex if as_latex else inspect.matrix_text
            told = write(first.args, self._outs[0], first.arg_names, first.out_names)
        named: str = self._named(told)
        return named.replace("−", "-") if as_latex else named

    def _named(self, text: str) -> str:
        """The text of the first graph with sizes by name: in brackets, in shapes, below the line.

        All other numbers are constants, which are expressions over the sizes already.
        """

        def count(found: re.Match[str]) -> str:
            return self._spelled(int(found[0].translate(_RAISED)))

        def group(found: re.Match[str]) -> str:
            return re.sub(r"(?<![\w.])\d+(?![\w.])", count, found[0])

        text = re.sub(r"\[[^\]]*\]|_\{[^}]*\}|=\([^)]*\)|, \(\d[\d, ]*\)|size=\d+|of shape [\d ×]+"
                      r"|(?<=[a-z] < )\d+", group, text)  # fmt: skip
        return re.sub(
            r"[₀-₉]+", lambda f: subscript(n) if not (n := count(f)).isdigit() else f[0], text
        )

    def _spelled(self, k: int) -> str:
        """A number that may be a size, or a position counted from one."""
        sizes = self._numbers[0]
        name = min(sizes, key=lambda n: abs(sizes[n] - k))
        rest = k - sizes[name]
        if k <= SMALL or abs(rest) > SMALL:
            return self._lengths_told.get(k, str(k))
        return name + (f"{'+' if rest > 0 else '−'}{abs(rest)}" if rest else "")

    @cached
    def _lengths_told(self) -> dict[int, str]:
        """Lengths that are no size alone, such as n d."""
        found = {}
        for three in self._same:
            for values in zip(*[n.shape for n in three], strict=True):
                terms = self._terms(values) if len(set(values)) > 1 else None
                if terms is not None:
                    told = [_term(c, factors, self.names) for c, factors in terms]
                    found[values[0]] = "+".join(told).replace("+-", "−")
        return found


def _told(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{k} = {v}" for k, v in sizes.items())


class _Keys:
    """A number for each node of the three graphs, equal where they differ in sizes only.

    Operands of sums and products come in one order, and without brackets: in the graphs their order
    depends on shapes.
    """

    def __init__(self, numbers: Sequence[Mapping[str, int]]) -> None:
        self.numbers = numbers
        self.table: dict[Any, int] = {}
        self.known: list[dict[Expr, int]] = [{}, {}, {}]

    def of(self, outs: Sequence[Expr], t: int) -> list[int]:
        """The numbers of `outs`, nodes of graph t."""
        known = self.known[t]
        for node in toposort(outs):
            key: tuple[Any, ...] = (node.op.name, node.ndim, node.dtype)
            if node.op is CONST:
                value = const_value(node)
                key += (value if value == int(value) and abs(value) <= SMALL else "c",)
            elif node.op is ARG:
                key += (node.attr("name"), node.attrs[1])
            elif node.op.kind is Kind.EINSUM:
                key += (self._labels(node, t),)
            elif node.op is not ARRAY:
                key += (self._counted(node.attrs, t),)
            key += tuple([known[a] for a in self.operands(node, t)])
            known[node] = self.table.setdefault(key, len(self.table))
        return [known[o] for o in outs]

    def operands(self, node: Expr, t: int) -> list[Expr]:
        """The operands, for sums and products those of their operands too, in one order."""
        if node.op.kind is Kind.EINSUM:
            return [node.args[k] for k in self._order(node, t)]
        if not node.op.commutative:
            return list(node.args)
        found: list[Expr] = []
        stack = list(node.args)
        while stack:
            a = stack.pop()
            if a.op is node.op and a.op.accumulates is not None:
                stack += a.args
            else:
                found.append(a)
        return sorted(found, key=self.known[t].__getitem__)

    def _order(self, node: Expr, t: int) -> list[int]:
        """The operands of an einsum in one order, equal ones by where their axes go."""
        inputs, output = node.attrs[0], node.attrs[1]
        return sorted(
            range(len(inputs)),
            key=lambda k: (self.known[t][node.args[k]], 
                           [output.index(w) if w in output else -1 for w in inputs[k]]),
        )  # fmt: skip

    def _labels(self, node: Expr, t: int) -> Any:
        new: dict[Any, int] = {}
        rows = [tuple([new.setdefault(w, len(new)) for w in node.attrs[0][k]])
                for k in self._order(node, t)]  # fmt: skip
        return (*rows, tuple([new.get(w, -1) for w in node.attrs[1]]))

    def _counted(self, attr: Any, t: int) -> Any:
        """Attributes with large numbers counted from the size that is next."""
        if isinstance(attr, tuple):
            return tuple([self._counted(a, t) for a in attr])
        if type(attr) is not int or abs(attr) <= SMALL:
            return attr if isinstance(attr, int | str | float | None) else repr(type(attr))
        sizes = self.numbers[t]
        name = min(sizes, key=lambda n: abs(sizes[n] - attr))
        return (name, attr - sizes[name]) if abs(attr - sizes[name]) <= SMALL else "large"


def _typed(e: Expr, dtype: str) -> Expr:
    return e if e.dtype == dtype else bind("convert", e, attrs=(dtype,))


def _power(base: Expr, e: Fraction) -> Expr:
    if e == 1:
        return base
    if e == Fraction(1, 2):
        return bind("sqrt", base)
    if e < 0:
        return bind("divide", const(1.0), _power(base, -e))
    return bind("power", base, const(float(e)))


def _term(c: float, factors: Sequence[Factor], names: Sequence[str]) -> str:
    told = []
    for (log, parts, shift), e in factors:
        base = " + ".join([names[at] for at in parts])
        if shift:
            base += f" {'+' if shift > 0 else '-'} {abs(shift)}"
        base = f"log({base})" if log else f"({base})" if shift or len(parts) > 1 else base
        told.append(base if e == 1 else f"{base}**{e}")
    return "*".join(told if c == 1 and told else [f"{c:g}", *told])


# ---- fits --------------------------------------------------------------------------------------

Base = tuple[bool, tuple[int, ...], int]  # log of it?, the names that are added, a number as well
Factor = tuple[Base, Fraction]
Terms = list[tuple[float, list[Factor]]]


def _fits(values: Three, sizes: Sequence[tuple[int, ...]]) -> Iterator[Terms]:
    """Expressions over the sizes with these values, simple ones first."""
    rows = list(_products(len(sizes)))
    for factors in rows:
        e = _values(factors, sizes)
        ratio = [v / x for v, x in zip(values, e, strict=True)]
        if _equal(ratio):
            yield [(_nice(ratio[0]), factors)]
    for factors in rows:
        e = _values(factors, sizes)
        if e[0] == e[1]:
            continue
        b = (values[1] - values[0]) / (e[1] - e[0])
        a = values[0] - b * e[0]
        if abs(a + b * e[2] - values[2]) <= _CLOSE * (abs(a) + abs(b * e[2])) and _is_nice(a, b):
            yield [(_nice(b), factors), (_nice(a), [])]


def _products(count: int) -> Iterator[list[Factor]]:
    """Powers of one size and products of two."""
    exponents = [Fraction(e, 2) for e in (2, -2, 4, -4, 1, -1, -3, 3, -6, 6)]
    pairs = list(itertools.combinations(range(count), 2))
    plain: list[Base] = [(False, (i,), 0) for i in range(count)]
    logs: list[Base] = [(True, (i,), 0) for i in range(count)]
    shifted: list[Base] = [(False, (i,), s) for s in (-1, 1, -2, 2) for i in range(count)]
    shifted += [(False, pair, s) for s in (0, -1, 1) for pair in pairs]
    singles: list[Factor] = [(b, e) for e in exponents for b in plain]
    singles += [(b, e) for e in exponents[:2] for b in [*logs, *shifted]]
    yield from ([f] for f in singles)
    for k, f in enumerate(singles):
        for g in singles[:k]:
            if f[0] != g[0]:
                yield [g, f]


def _values(factors: Sequence[Factor], sizes: Sequence[tuple[int, ...]]) -> list[float]:
    found = []
    for t in range(3):
        value = 1.0
        for (log, parts, shift), e in factors:
            base = float(sum([sizes[at][t] for at in parts]) + shift)
            value *= (math.log(base) if log else base) ** float(e)
        found.append(value)
    return found


def _equal(v: Sequence[float]) -> bool:
    return max(v) - min(v) <= _CLOSE * max(map(abs, v))


def _nice(c: float) -> float:
    f = Fraction(c).limit_denominator(_MOST_DENOMINATOR)
    return float(f) if f and abs(float(f) - c) <= 1e-12 * abs(c) else c


def _is_nice(*numbers: float) -> bool:
    return all(abs(float(Fraction(c).limit_denominator(_MOST_DENOMINATOR)) - c) <= 1e-12 * abs(c)
               and c for c in numbers)  # fmt: skip
