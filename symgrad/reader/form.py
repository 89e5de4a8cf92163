"""The formula of a graph for its reader: the cheapest of several tries that agrees with the graph.

Beyond the limits, or where nothing cheaper was found, the code's form stands.
"""

from __future__ import annotations

import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from symgrad import log
from symgrad.expr.node import Expr
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort, users
from symgrad.inspect import algebra as F
from symgrad.inspect.formula import Formula, to_text
from symgrad.inspect.matrix import argument_names, layout, name_parts
from symgrad.inspect.naming import LENGTH, plain_name
from symgrad.ops.readings import reads_add, reads_subtract
from symgrad.reader import bands
from symgrad.reader.check import agrees
from symgrad.reader.conditions import needed
from symgrad.reader.convert import Reader
from symgrad.reader.cost import NAME, cost
from symgrad.reader.heads import BUDGET, Budget, NoMatrixForm, TooLong
from symgrad.reader.naming import arguments, as_the_user, named, price
from symgrad.reader.notation import integer
from symgrad.reader.poly import Poly, is_nonneg
from symgrad.reader.printing import latex, text
from symgrad.reader.quotient import holds_sum
from symgrad.reader.reading import Condition, Line, Part, Reading
from symgrad.reader.rules import in_sigmoids
from symgrad.reader.sizes import Sizes
from symgrad.reader.write import Writer

NO_SIZES = Sizes()
MOST_NODES = 500
STEPS = 400  # of the search, in one try
ALL_STEPS = 1200  # in all tries: a second or two
WORK = 50_000  # of all tries: graphs near MOST_NODES take 1,000 to 13,000, in up to 3 seconds
OF_COMPARISON = 500_000  # evaluated nodes: such graphs take up to 5,000, some 10 µs each
LARGEST = 20_000  # what costs more to read, before parts have names, is not looked at
MOST_OF_PADS = 4  # times what pads cost may the elements cost
MOST_TRIES = 6
MOST_OF_DOMAIN = 12
WORTH_OF_LENGTHS = 10  # 2 x / n says more than 0.2 x
GUARD = 40  # of the code's form, beside what it costs there: a person would not write it
DIFFERS = "no shorter formula could be shown to have the same values"
FAILED = "the search for a shorter form failed, which is a mistake of symgrad's"


@dataclass(frozen=True)
class Found:
    """A reading, or None and the reason why the code's form stands.

    large : it is one of which only a summary is shown
    """

    reading: Reading | None
    why: str = ""
    large: bool = False


def read(
    args: Sequence[Expr],
    outs: Sequence[Expr],
    arg_names: Sequence[str] | None = None,
    out_names: Sequence[str] | None = None,
    variables: Mapping[str, Expr] | None = None,
    sizes: Sizes = NO_SIZES,
) -> Found:
    """The cheapest formula that was found and agrees with the graph.

    variables : what variables of the user's function held, whose names are used
    sizes : those that have names, and the same graph at others
    """
    nodes = toposort(outs)
    if len(nodes) > MOST_NODES:
        told = f"{len(nodes)} operations, where formulas are shortened up to {MOST_NODES}"
        return Found(None, told, True)
    if any(n.op.kind in (Kind.CONTROL, Kind.ITEM) for n in nodes):
        return Found(None)
    budget = Budget(work=WORK, positive=sizes.values)
    token = BUDGET.set(budget)
    try:
        return _searched(args, outs, nodes, arg_names, out_names, variables or {}, budget, sizes)
    except TooLong:
        return Found(None, "no shorter formula was found within the limits of the search")
    except RecursionError:
        return Found(None, "the expression nests too deeply for a shorter one")
    except Exception as error:
        # Whatever it is, it is a mistake of the search, and nothing that a user can mend: the
        # code's form is there, so nobody is kept from it. The text says so, the log says where.
        told = traceback.format_exc(limit=-3)
        log.note(lambda: f"{FAILED}\n{told}")
        return Found(None, f"{FAILED}: {type(error).__name__}: {error}")
    finally:
        BUDGET.reset(token)


def _searched(
    args: Sequence[Expr], outs: Sequence[Expr], nodes: Sequence[Expr],
    arg_names: Sequence[str] | None, out_names: Sequence[str] | None,
    variables: Mapping[str, Expr], budget: Budget, sizes: Sizes,
) -> Found:  # fmt: skip
    names = argument_names(args, toposort([*outs, *sizes.values]), arg_names)
    lines, parts = layout(args, outs, arg_names, out_names, "f")
    of_code = sum(cost(f) for _, f, _ in lines) + sum(cost(p.formula) + NAME for p in parts)
    of_code += GUARD * _count_guards([*[f for _, f, _ in lines], *[p.formula for p in parts]])
    labels = [n for n, _, _ in lines]
    budget.sizes = {n: Reader(names).read([e])[0] for n, e in sizes.lengths.items()}
    free = {k: v for k, v in variables.items()
            if k not in {*names.values(), *labels} and not k.startswith(LENGTH)}  # fmt: skip
    if not sizes.values:
        budget.lengths = _lengths(variables, {*names.values(), *labels, *free})
    found = _candidates(outs, nodes, names, labels, free, budget)
    if not found and budget.work < 0:
        raise TooLong
    in_pieces = _in_pieces(args, outs, nodes, names, labels, of_code, budget)
    if in_pieces is not None:
        found.append(in_pieces)
    most = of_code + (WORTH_OF_LENGTHS if budget.lengths else 0)
    found = sorted([r for r in found if r.cost <= most], key=lambda r: r.cost)
    budget.work = OF_COMPARISON
    for reading in found:
        budget.ticks = STEPS
        shown = _agreeing(reading, args, outs, sizes)
        if shown is None:
            continue
        if free:
            shown = _with_names_of(shown, _held_by(free, names), {*names.values(), *labels})
        return Found(replace(shown, conditions=needed(shown, args, outs, sizes)))
    return Found(None, DIFFERS if found else "")


def _count_guards(formulas: Iterable[Formula]) -> int:
    """How often a formula is 0 where something is 0; what trees share counts once."""
    count, stack, seen = 0, list(formulas), set()
    while stack:
        f = stack.pop()
        if id(f) not in seen:
            seen.add(id(f))
            count += f.kind == "cases" and F.is_number(f.args[0], "0") and f.args[1].kind == "infix"
            stack += f.args
    return count


def _candidates(
    outs: Sequence[Expr], nodes: Sequence[Expr], names: dict[Expr, str], labels: Sequence[str],
    free: Mapping[str, Expr], budget: Budget,
) -> list[Reading]:  # fmt: skip
    """What the tries found, within the steps and the work that there are."""
    found: list[Reading] = []
    left = ALL_STEPS
    tries: list[tuple[frozenset[Expr], Mapping[str, Expr], bool]] = [
        (atoms, named_, True) for atoms, named_ in _tries(outs, nodes, free)
    ]
    for atoms, named_, opens in tries:
        budget.ticks = start = min(STEPS, left)
        budget.steps.clear()
        budget.atoms.clear()
        budget.opens_sech = opens
        try:
            found.append(_one(outs, names, labels, atoms, named_, budget))
        except NoMatrixForm:
            pass
        except TooLong:
            if budget.work < 0:
                break
        if "cosh²" in budget.steps and opens and not atoms:
            tries.append((atoms, named_, False))
        left -= start - budget.ticks
        if left < 0:
            break
    return found


def _agreeing(
    reading: Reading, args: Sequence[Expr], outs: Sequence[Expr], sizes: Sizes
) -> Reading | None:
    """The reading, if it agrees with the graph, perhaps only where its logarithms and roots are."""
    if agrees(reading, args, outs, sizes):
        return reading
    told = tuple([c for c in reading.domain() if c.sign != "≠"])
    inside = replace(reading, conditions=(*reading.conditions, *told))
    return inside if told and agrees(inside, args, outs, sizes) else None


def _with_names_of(reading: Reading, held: Mapping[str, str], taken: set[str]) -> Reading:
    """The reading with the user's names, for its parts and for long arguments of functions."""
    taken |= {p.text for p in reading.parts}
    if not any(line.pieces or line.labels for line in reading.lines):
        usable = {text_: name for text_, name in held.items() if plain_name(name) not in taken}
        formulas, parts = arguments([x.formula for x in reading.lines], list(reading.parts), usable)
        if len(parts) > len(reading.parts):
            name_parts(parts, taken)
            lines = [replace(x, formula=f) for x, f in zip(reading.lines, formulas, strict=True)]
            reading = replace(reading, lines=tuple(lines), parts=tuple(parts))
    if reading.parts:
        as_the_user(reading.parts, held, taken)
    return reading


def _lengths(variables: Mapping[str, Expr], taken: Collection[str]) -> dict[int, Formula]:
    """Names for what means divide by."""
    letters = (ch for ch in "nmNM" if ch not in taken)
    found = sorted([int(name[1:]) for name in variables if name.startswith(LENGTH)], reverse=True)
    return {n: Formula("part", (), Part(integer(n), "", letter, letter))
            for n, letter in zip(found, letters, strict=False)}  # fmt: skip


def _in_pieces(
    args: Sequence[Expr], outs: Sequence[Expr], nodes: Sequence[Expr], names: dict[Expr, str],
    labels: Sequence[str], of_code: int, budget: Budget,
) -> Reading | None:  # fmt: skip
    """Element by element, where matrix notation would be pads; these cost more than they show."""
    if not any(map(bands.is_padded, nodes)):
        return None
    budget.ticks = ALL_STEPS
    try:
        lines = bands.lines(args, outs, names, labels)
    except (TooLong, NoMatrixForm):
        return None
    if lines is None or bands.price(lines) > MOST_OF_PADS * of_code:
        return None
    return Reading(tuple(lines), (), (), {"elements": 1}, min(bands.price(lines), of_code - 1))


def _one(
    outs: Sequence[Expr], names: dict[Expr, str], labels: Sequence[str],
    atoms: frozenset[Expr], variables: Mapping[str, Expr], budget: Budget,
) -> Reading:  # fmt: skip
    reader, writer = Reader(names, atoms), Writer(names)
    _name(reader, writer, variables)
    polys = reader.read(outs)
    if reader.conditions:  # once more, with what has to hold
        found = reader.conditions
        apart = frozenset(p for p, sign in found if sign == "≠")
        reader = Reader(names, atoms, frozenset(reader.wanted), apart)
        _name(reader, writer, variables)
        polys = reader.read(outs)
        reader.conditions |= {at: None for at in found if at[1] == ">"}
    polys = [in_sigmoids(p) for p in polys]
    writer.sigmoids = {h for p in polys for h, _, e in p.factors()
                       if (h.kind, h.payload) == ("fn", "sigmoid") and e > 1}  # fmt: skip
    written = [writer.output(p) for p in polys]
    if sum(cost(f) for f, _ in written) > LARGEST:
        raise NoMatrixForm
    formulas, parts = named([f for f, _ in written])
    told = [(p, ">" if p in reader.logs else sign) for p, sign in reader.conditions]
    spent = price(formulas, parts)
    name_parts(parts, {*names.values(), *labels})
    return Reading(
        tuple(Line(n, f, w) for n, f, (_, w) in zip(labels, formulas, written, strict=True)),
        tuple(parts),
        _conditions(told, names), dict(budget.steps), spent,
        lambda: _conditions(_domain(reader), names),
    )  # fmt: skip


def _conditions(polys: Iterable[tuple[Poly, str]], names: dict[Expr, str]) -> tuple[Condition, ...]:
    """The same as formulas, without names that these might not have; left out where nobody would
    read them."""
    writer, found = Writer(names), []
    for p, sign in polys:
        try:
            found.append(writer.spelling.condition(p, sign))
        except (NoMatrixForm, TooLong):
            continue
    return tuple(found)


def _domain(reader: Reader) -> list[tuple[Poly, str]]:
    """Where the graph's operations have values; without what is never negative, and conditions."""
    found = []
    for p, sign in reader.domain:
        signed = all(c > 0 and all(is_nonneg(h, e) for h, _, e in t) for t, c in p.terms.items())
        known = any((q, s) in reader.conditions for q in (p, -p) for s in ("≠", ">"))
        if p.constant is None and not known and not (signed and sign != "≠"):
            found.append((p, sign))
    return found[:MOST_OF_DOMAIN]


def _held_by(variables: Mapping[str, Expr], names: dict[Expr, str]) -> dict[str, str]:
    """The names of variables, by the text of what they hold."""
    known: dict[str, str] = {}
    reader, writer = Reader(names), Writer(names)
    for name, node in variables.items():
        try:
            known.setdefault(to_text(writer.write(reader.read([node])[0])), name)
        except (NoMatrixForm, TooLong):
            continue
    return known


def _name(reader: Reader, writer: Writer, variables: Mapping[str, Expr]) -> None:
    """Read what the user's variables held; their sums are held together."""
    conditions = dict(reader.conditions)
    for name, node in variables.items():
        (p,) = reader.read([node])
        reader.variables.add(p)
        if len(p.terms) == 1:
            ((term, c),) = p.terms.items()
            if all(f[0].kind in ("sym", "num") for f in term):
                continue
            head, labels, e = term[0]
            if len(term) == 1 and e == 1 and holds_sum(head):
                p = head.args[0].relabel(labels, p.shape).scale(c)
        if p.terms:
            writer.named.setdefault(p, name)
    reader.conditions = conditions


def _tries(
    outs: Sequence[Expr], nodes: Sequence[Expr], variables: Mapping[str, Expr]
) -> Iterator[tuple[frozenset[Expr], Mapping[str, Expr]]]:
    """Which sums are held together: none, those that have a name, all that stand in products, each
    alone; and the names that are used.
    """
    for atoms in _held(outs, nodes):
        if variables:
            yield atoms, variables
        yield atoms, {}


def _held(outs: Sequence[Expr], nodes: Sequence[Expr]) -> Iterator[frozenset[Expr]]:
    yield frozenset()
    last = set(outs)
    sums: list[tuple[int, int, Expr]] = []
    for node, by in users(list(nodes)).items():
        if node.op.reads in (reads_add, reads_subtract) and node not in last:
            count = sum(1 + (u.args.count(node) > 1) for u in by
                        if u.op.reads not in (reads_add, reads_subtract))  # fmt: skip
            if count:
                sums.append((-count, len(sums), node))
    sums.sort(key=lambda s: s[:2])
    ranked = [node for _, _, node in sums]
    if ranked:
        yield frozenset(ranked)
    if len(ranked) > 1:
        for node in ranked[: MOST_TRIES - 2]:
            yield frozenset([node])


__all__ = ["Found", "latex", "read", "text"]
