"""From a graph to its C: names, lowering, emission. Only this module and below need Jinja."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from symgrad import log
from symgrad.collector import seldom
from symgrad.emit.c import Source, data_source, emit, load_templates
from symgrad.expr.node import Expr
from symgrad.expr.op import Kind
from symgrad.graph import Graph
from symgrad.inspect import ascii_text
from symgrad.lower import interpret
from symgrad.lower.access import passes
from symgrad.lower.fission import fission
from symgrad.lower.pipeline import lower
from symgrad.lower.program import Program, statements
from symgrad.lower.share import share
from symgrad.lower.tuning import Tuning
from symgrad.machines import find_machine
from symgrad.names import comment_text, mangle, unique
from symgrad.ops.checks import status_numbers
from symgrad.options import DEFAULT_OPTIONS, Options
from symgrad.scalar.choice import most_that_pay, points_that_pay
from symgrad.scalar.mapped import SINGULAR, in_scalars
from symgrad.scalar.program import SINGULAR_STATUS, operations, scalar_program, tuned
from symgrad.scalar.space import NotScalar
from symgrad.version import __version__

__all__ = [
    "c_names",
    "data_source",
    "explained",
    "load_templates",
    "passes_of",
    "program_of",
    "source_of",
]

_FORMULA_NODES = 400  # a comment, not a book
_READER_NODES = 40  # up to this size a short formula is found in no time


def c_names(paths: Sequence[str], taken: Sequence[str] = ()) -> list[str]:
    """C names for leaves such as ``params["w"][0]``: params_w_0."""
    words = [re.sub(r"[^0-9A-Za-z]+", "_", p).strip("_") for p in paths]
    return unique([*taken, *(mangle(w, k) for k, w in enumerate(words))])[len(taken) :]


def source_of(graph: Graph, options: Options = DEFAULT_OPTIONS, **choices: Any) -> Source:
    """C of a graph, with names, shapes and the formula in comments.

    choices : fields of `Options` that differ from `options`
    """
    options = replace(options, **choices)
    name = mangle(graph.name, 0)
    program, tuning = _lowered(graph, options)
    with seldom(), log.Stage("writing the C of", "written as C", graph.name) as stage:
        source = emit(
            program,
            name,
            tuning=tuning,
            comment=_comment(graph, "code") if len(graph.nodes) <= _FORMULA_NODES else [],
            version=__version__,
            input_notes=[comment_text(p) for p in graph.arg_names],
            output_notes=[comment_text(p) for p in graph.out_names],
            statuses=[
                (status, comment_text(ascii_text(f"{f.message} ({f.place})")))
                for f, status in status_numbers(graph.failures).items()
            ],
        )
        stage.facts = lambda: (
            f"{len(source.c)} bytes"
            + (f", cut into {source.units} units" if source.units > 1 else "")
        )
    return source


def explained(source: Source, graph: Graph) -> Source:
    """What people read of the C of a graph: with the reader's form of its formula.

    Finding that may take longer than compiling, so nobody does who only calls the function.
    """
    if len(graph.nodes) > _READER_NODES:
        return source
    old, new = (
        "".join(f" * {line}\n" for line in _comment(graph, form)) for form in ("code", "reader")
    )
    return replace(
        source, c=source.c.replace(old, new, 1), header=source.header.replace(old, new, 1)
    )


def _comment(graph: Graph, form: str) -> list[str]:
    return [comment_text(ascii_text(line)) for line in graph.formula(form).splitlines()]


def passes_of(graph: Graph, options: Options) -> dict[str, int]:
    """How often the C of a graph reads each of its arguments from memory, by path."""
    program, tuning = _lowered(graph, options)
    counts = passes(program, tuning)
    return {path: counts[b.name] for path, b in zip(graph.arg_names, program.inputs, strict=False)}


def program_of(graph: Graph, options: Options = DEFAULT_OPTIONS, **choices: Any) -> Program:
    """The loop program of a graph, with the names that its C has; parameters as of `source_of`."""
    return _lowered(graph, replace(options, **choices))[0]


def _lowered(graph: Graph, options: Options) -> tuple[Program, Tuning]:
    """The program of a graph, and the thresholds that its C is written with."""
    name = mangle(graph.name, 0)
    names = c_names([*graph.arg_names, *graph.out_names], taken=["work", name])
    inputs, outputs = names[: len(graph.args)], names[len(graph.args) :]
    tuning = options.tuning or Tuning.of(find_machine(options.machine))
    asked = graph.scalar
    most = options.most_scalars if asked else most_that_pay(graph, options)
    if most:
        straight = tuned(tuning)
        try:
            with seldom(), log.Stage("lowering", "lowered", graph.name) as stage:
                program, outs = scalar_program(
                    graph.args, graph.outs, inputs, outputs, straight, most, not asked
                )
                stage.facts = lambda: f"scalar form, {operations(program)} operations"
            _interpreted(program, graph, outs)
            return program, straight
        except NotScalar as reason:
            text = str(reason)
            if asked:
                log.note(lambda: f"{graph.name} is compiled without scalar form: {text}")
                # with rules that were left out
                graph = replace(graph, scalar=False).simplify()
    with seldom(), log.Stage("lowering", "lowered", graph.name) as stage:
        has_loops = any(n.op.kind is Kind.CONTROL for n in graph.nodes)
        split = functools.partial(fission, tuning=tuning) if has_loops else None
        outs = graph.lowered_outs(split)
        same = all(a is b for a, b in zip(outs, graph.outs, strict=True))
        mapped = _points_in_scalars(outs, options, tuning, asked)
        if mapped is None:
            outs, behind = share(outs, graph.nodes if same else None), []
        else:
            count = len(outs)
            together = share([*mapped[0], *mapped[1]])
            outs, behind = together[:count], together[count:]
        program = lower(
            graph.args, outs, inputs, outputs,
            threads=options.threads, blas=options.blas, tuning=tuning,
            statuses=status_numbers(graph.failures) | {SINGULAR: SINGULAR_STATUS}, behind=behind,
        )  # fmt: skip
        stage.facts = lambda: (
            f"{len(list(statements(program.body)))} statements, {len(program.buffers)} buffers"
        )
    _interpreted(program, graph, outs)
    return program, tuning


def _points_in_scalars(
    outs: Sequence[Expr], options: Options, tuning: Tuning, asked: bool
) -> tuple[list[Expr], list[Expr]] | None:
    """Results whose small arrays of each point are scalars, and checks behind them; None if none
    are to be."""
    found = points_that_pay(outs, options, tuning)
    if found is None:
        return None
    try:
        return in_scalars(outs, *found, not asked)
    except NotScalar as reason:
        text = str(reason)
        log.note(lambda: f"points are not taken in scalars: {text}")
        return None


def _interpreted(program: Program, graph: Graph, outs: Sequence[Expr]) -> None:
    if interpret.ENABLED:
        interpret.check(program, graph.args, outs, interpret.MOST_OPERATIONS)
