"""Loop program to C99: expressions and literals here, statements and files in templates/.

Scalar expressions are a DAG; here it is decided which nodes become local variables. A node becomes
one if it is used twice, if it does not change inside the loop around its user (it is then declared
outside), if a template spells an operand twice, or if the text would grow beyond one line. A value
under a `guard` (the border of a padded array) is only evaluated there and is never hoisted.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import math
import re
import sys
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import jinja2
import numpy as np

from symgrad.boundary import Binding
from symgrad.emit.lanes import Lanes, lanes_apart, without_branches
from symgrad.errors import CacheError
from symgrad.expr.node import CONST, FLOATS, Expr, const, const_value
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.lower.access import accesses
from symgrad.lower.lanes import COSTLY, LANES, only_adds
from symgrad.lower.program import Program, statements
from symgrad.lower.scalar import (
    COS_TURNED,
    GUARD,
    INDEX,
    INDEX_DIV,
    INDEX_MOD,
    LOAD,
    SIN_TURNED,
    is_next,
    loads,
)
from symgrad.lower.statements import (
    Best,
    Buffer,
    Call,
    Check,
    Flush,
    Gemm,
    Loop,
    Merge,
    Panels,
    Rows,
    Store,
    Tiles,
    Turns,
    Zero,
    is_flat,
    row_strides,
    values,
)  # fmt: skip
from symgrad.lower.tuning import HOST_TUNING, Tuning
from symgrad.names import standard_headers
from symgrad.ops.elementwise import ADD, CONVERT, MULTIPLY, SUBTRACT, vector_functions
from symgrad.resources import template_folder
from symgrad.runtime.cache import open_cache

C_TYPES = {
    "float64": "double",
    "float32": "float",
    "int64": "int64_t",
    "int32": "int32_t",
    "bool": "bool",
}
_ZERO = const(0, "int64")
_WRITTEN_OUT = 32  # rounds; compilers may write such loops out. gcc does up to 16
_ADDING = {Tiles: "product", Flush: "sg_add_lanes", Merge: "sg_merge"}  # names of their functions
_WORD = re.compile(r"[A-Za-z_]\w*")
_MET = ("calls", "branches", "uneven")  # what decides whether loops are vectors
_TREE_LIMIT = 16  # nodes spelled in one statement
_ATOM, _UNARY, _TIMES, _PLUS, _COMPARE, _EQUAL, _AND, _OR, _TERNARY = range(9, 0, -1)
_OPERATORS = (
    (" ? ", _TERNARY), (" || ", _OR), (" && ", _AND), (" == ", _EQUAL), (" != ", _EQUAL),
    (" < ", _COMPARE), (" > ", _COMPARE), (" <= ", _COMPARE), (" >= ", _COMPARE),
    (" + ", _PLUS), (" - ", _PLUS), (" * ", _TIMES), (" / ", _TIMES), (" % ", _TIMES),
)  # fmt: skip

_SYNTAX: dict[str, Any] = dict(
    trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
)


class _Translations(jinja2.BytecodeCache):
    """Templates as Jinja translated them, in notes: to translate them takes it a tenth of a second.

    They are code, as the libraries beside them are, and believed like those: in a directory that
    only this user can write, and with the hash that they were stored with.
    """

    def load_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        try:
            text = open_cache().read_note(_translation(bucket))
            if isinstance(text, str):
                bucket.bytecode_from_string(zlib.decompress(base64.b64decode(text)))
        except Exception:  # whatever is wrong with it, the template is translated anew
            bucket.reset()

    def dump_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        text = base64.b64encode(zlib.compress(bucket.bytecode_to_string())).decode()
        with contextlib.suppress(CacheError):
            open_cache().write_note(_translation(bucket), text)


def _translation(bucket: jinja2.bccache.Bucket) -> str:
    """The name of a note, from everything that decides what a template becomes."""
    seen = (jinja2.__version__, sys.version, sorted(_SYNTAX.items()), bucket.key, bucket.checksum)
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:32]


TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(template_folder()),
    undefined=jinja2.StrictUndefined,
    auto_reload=False,
    bytecode_cache=_Translations(),
    cache_size=-1,  # all are kept, and without a lock, which a fork could find held
    **_SYNTAX,
)
TEMPLATES.filters["standard_headers"] = standard_headers


def load_templates() -> None:
    """Translate all templates, those of every function first, unless the cache has them."""
    first = ["function.c.jinja", "function.h.jinja", "statement.c.jinja", "signature.c.jinja"]
    for name in dict.fromkeys([*first, *TEMPLATES.list_templates(extensions=["jinja"])]):
        TEMPLATES.get_template(name)


@dataclass(frozen=True)
class Source(Binding):
    """Generated C of one function.

    c, header : text of the two files
    data_names : names under which the exported data file defines the captured arrays
    units : in how many pieces the C can be compiled side by side, by SG_UNIT = 0, 1, …
    parallel : whether it has loops that several threads can share
    blas : whether it calls a BLAS
    """

    c: str
    header: str
    data_names: tuple[str, ...]
    units: int
    parallel: bool
    blas: bool


def literal(value: Any, dtype: str) -> str:
    """A C literal that reads back as exactly `value`."""
    if dtype == "bool":
        return "true" if value else "false"
    if dtype in ("int32", "int64"):
        number = int(value)
        if number == -(2**63):
            return "(-INT64_C(9223372036854775807) - 1)"
        if abs(number) > 2**31 - 1:
            return f"INT64_C({number})" if number >= 0 else f"(-INT64_C({-number}))"
        return str(number) if number >= 0 else f"({number})"
    real = float(value)
    suffix = "f" if dtype == "float32" else ""
    if math.isnan(real):
        return f"({C_TYPES[dtype]})NAN"
    if math.isinf(real):
        return f"({C_TYPES[dtype]})INFINITY" if real > 0 else f"(-({C_TYPES[dtype]})INFINITY)"
    text = repr(real) if dtype == "float64" else str(np.float32(real))
    if "e" not in text and "." not in text:
        text += ".0"
    text += suffix
    return text if not text.startswith("-") else f"({text})"


class _Emitter:
    def __init__(self, program: Program, tuning: Tuning) -> None:
        self.tuning = tuning
        body, zeros, self.bodies_of = _open_single_rounds(program.body)
        self.program = program = replace(program, body=body)
        self.buffers = {b.number: b for b in program.buffers}
        self.names: dict[Expr, str] = {}  # local variables that exist
        self.counter = 0
        self.helpers: dict[tuple[str, str], None] = {}
        self.calls: dict[tuple[str, str], None] = {}
        self.used: set[str] = set()
        self.defined: dict[str, str] = {}
        self.depth: dict[Expr, int] = {}
        self.uses: dict[Expr, int] = {}
        self.user_depth: dict[Expr, int] = {}
        self.tree: dict[Expr, int] = {}
        self.forced: set[Expr] = set()
        self.loop_names: dict[Expr, str] = {}
        self.path: list[Loop] = []  # the loops around what is being spelled, outside of lanes
        self.lanes: Lanes | None = None  # the block that is being spelled
        self.simd = False  # whether there are such blocks
        self.carrying = {  # functions that have to note what additions round away
            (_ADDING[type(s)], s.buffer.dtype)
            for s, _ in statements(program.body)
            if type(s) in _ADDING and s.carry is not None
        }
        inside = [s for s, path in statements(program.body) if path]
        added = Counter(s.buffer.number for s in inside if _adds(s))
        self.added_twice = {number for number, count in added.items() if count > 1}
        self.parallel = False  # whether several threads can share one
        self.blas = False  # whether a BLAS is called
        self.branchless = False  # whether a branch would keep the compiler from vectorising
        self.met: set[str] = set()  # in what was spelled last: "calls", "branches", "uneven" steps
        self.loop_names.update(dict.fromkeys(zeros, "0"))
        self._analyse()

    # ---- which expressions become variables ----------------------------------------------------

    def _analyse(self) -> None:
        """Depth of the body every expression can live in, and how often it is used."""
        bodies: dict[int, int] = {}
        stack: list[tuple[Any, int]] = [(s, 0) for s in reversed(self.program.body)]
        bodies[id(self.program.body)] = 0
        roots: list[tuple[Expr, int]] = []
        index_depth: dict[Expr, int] = {}
        while stack:
            statement, depth = stack.pop()
            if isinstance(statement, Loop):
                index_depth[statement.index] = depth + 1
                bodies[id(statement.body)] = depth + 1
                stack.extend((s, depth) for s in reversed(statement.flush))
                stack.extend((s, depth + 1) for s in reversed(statement.body))
            else:
                roots.extend((v, depth) for v in values(statement))
        self.index_depth = index_depth
        self.bodies = bodies
        order: list[Expr] = []
        seen: set[Expr] = set()
        for root, _ in roots:
            walk: list[tuple[Expr, bool]] = [(root, False)]
            while walk:
                node, finished = walk.pop()
                if finished:
                    order.append(node)
                elif node not in seen:
                    seen.add(node)
                    walk.append((node, True))
                    walk.extend((a, False) for a in reversed(node.args))
        for node in order:
            depth = index_depth.get(node, 0)
            for a in node.args:
                depth = max(depth, self.depth[a])
            if node.op is LOAD:
                home = self.buffers[node.attrs[0]].home
                if home is not None:
                    depth = max(depth, bodies[id(self.bodies_of[id(home)])])
            self.depth[node] = depth
        for s in self.program.body:
            if isinstance(s, Loop) and s.lanes:
                self.forced.update(_calls_apart(s, self.buffers))
        # uses outside guards, and the deepest body that uses each node
        for root, depth in roots:
            self.uses[root] = self.uses.get(root, 0) + 1
            self.user_depth[root] = max(self.user_depth.get(root, 0), depth)
        for node in reversed(order):
            if node in self.uses:
                for position, a in enumerate(node.args):
                    if node.op is GUARD and position == 1:
                        continue
                    self.uses[a] = self.uses.get(a, 0) + 1
                    deepest = max(self.user_depth.get(a, 0), self.depth[node])
                    if not self._is_variable(node):
                        deepest = max(deepest, self.user_depth[node])
                    self.user_depth[a] = deepest
                    if self._doubled(node, position):
                        self.forced.add(a)
        for node in order:
            size = 1
            for a in node.args:
                size += 1 if self._is_variable(a) else self.tree[a]
            self.tree[node] = size
            if size > _TREE_LIMIT and node in self.uses and node.op not in (LOAD, GUARD):
                self.forced.add(node)

    def _doubled(self, node: Expr, position: int) -> bool:
        spelling = _spelling(node)
        return spelling is not None and spelling.count(f"{{{position}}}") > 1

    def _is_variable(self, node: Expr) -> bool:
        if not node.args or node not in self.uses:
            return False
        if node in self.forced:
            return True
        if node.op is LOAD:
            return False
        if node.dtype == "int64" and node.op.kind is not Kind.LOWERED and node.op.cost <= 1:
            if all(self._is_index(a) for a in node.args):
                return False
        if node.op.kind is Kind.LOWERED and node.op not in (GUARD, SIN_TURNED, COS_TURNED):
            return False
        if self.uses[node] > 1 and node.op.cost > 0:
            return True
        return self.depth[node] < self.user_depth[node] and node.op.cost > 0

    def _is_index(self, node: Expr) -> bool:
        return node.op in (INDEX, CONST) or (node.dtype == "int64" and node.op is not LOAD)

    # ---- statements ----------------------------------------------------------------------------

    def body(self, body: list, depth: int) -> list[dict[str, Any]]:
        """The statements of one body as records for the template."""
        out: list[dict[str, Any]] = []
        for statement in body:
            first = len(out)
            out.extend(self._declarations(statement, depth))
            if isinstance(statement, Loop) and statement.lanes:
                out.extend(self.blocks(statement, depth))
                continue
            operand = self._operand(statement) if isinstance(statement, Store) else []
            out.extend(operand)
            self.met = set()
            out.append(self.statement(statement, depth))
            out[-1].update(dict.fromkeys(self.met, True))
            self.met = set()
            for record in out[first:]:
                record["apart"] = statement.apart if isinstance(statement, Store) else 0
            if operand:  # its value may be needed again where this body is over
                del self.names[statement.value]
        return out

    def whole(self) -> list[dict[str, Any]]:
        """The statements of the function, each with the variables that it writes."""
        out: list[dict[str, Any]] = []
        for statement in self.program.body:
            written = {access.buffer for access, _ in accesses([statement]) if access.writes}
            names = {b.name for n in written if (b := self.buffers[n]).role == "scalar"}
            for record in self.body([statement], 0):
                own = {_defined(record)} if _defined(record) else names & _words(record)
                out.append({**record, "writes": sorted(own)})
        return out

    def _declarations(self, statement: Any, depth: int) -> list[dict[str, Any]]:
        """Variables that live in this body and are first used by `statement`."""
        out: list[dict[str, Any]] = []
        stack = [statement]
        while stack:
            part = stack.pop()
            if isinstance(part, Loop):
                stack.extend(reversed(part.body))
                continue
            for node in self._missing(values(part), depth):
                self.met = set()
                text = self.spell(node)
                name = f"t{self.counter}"
                self.counter += 1
                self.names[node] = name
                self.defined[name] = node.dtype
                self.used.add(name)
                shared = self.lanes is not None and not self.lanes.moves(node)
                kind = dict(kind="declare", type=C_TYPES[node.dtype], shared=shared)
                out.append({**kind, **dict.fromkeys(self.met, True), "name": name, "value": text})
        return out

    def _missing(self, roots: Iterable[Expr], depth: int) -> list[Expr]:
        """Variables of this depth below `roots` that are not declared yet, arguments first."""
        found: list[Expr] = []
        seen: set[Expr] = set()
        stack: list[tuple[Expr, bool]] = [(r, False) for r in reversed(list(roots))]
        while stack:
            node, finished = stack.pop()
            if finished:
                if node not in self.names and self.depth[node] == depth and self._is_variable(node):
                    found.append(node)
            elif node not in seen and node not in self.names:
                seen.add(node)
                stack.append((node, True))
                stack.extend((a, False) for a in reversed(node.args))
        return found

    def statement(self, s: Any, depth: int) -> dict[str, Any]:
        if isinstance(s, Loop):
            name = f"i{s.index.attrs[0]}"
            self.loop_names[s.index] = name
            if self.lanes is None and self._is_sum(s):
                return self._sum(s, name, depth)
            if self.lanes is None and self._is_extremum(s):
                return self._extremum(s, name, depth)
            if self.lanes is not None and only_adds(s.body, s.index):
                return self._inner_sum(s, name, depth)
            outer = self.branchless
            elementwise = self.lanes is None and (s.simd or _is_elementwise(s, self.tuning))
            self.branchless = outer or elementwise
            self.path.append(s)
            body = self.body(s.body[: len(s.body) - s.in_order], depth + 1)
            if s.in_order:
                last = self.body(s.body[len(s.body) - s.in_order :], depth + 1)
                body.append(dict(kind="in order", shared=s.shared, body=last))
            self.path.pop()
            self.branchless = outer
            if s.is_plain and all(record["kind"] == "check" for record in body):
                return dict(kind="checks", index=name, extent=s.extent, body=body,
                            name=self._fresh())  # fmt: skip
            calls = self.lanes is None and any(r.get("calls") for r in body)
            self.simd = self.simd or elementwise
            self.parallel = self.parallel or s.shared
            start, stop = self._bounds(s)
            if elementwise and calls and s.stop is not None:
                length = stop if start == "0" else f"({stop} - ({start}))"
                return dict(kind="loop in blocks", index=name, start=start, stop=stop, body=body,
                            block=self._fresh(), rest=self._fresh(), width=LANES,
                            full=f"{stop} - {length} % {LANES}")  # fmt: skip
            calls = calls and not elementwise
            return dict(kind="loop", index=name, start=start, stop=stop, step=s.step, body=body,
                        simd=elementwise, shared=s.shared, members=s.members,
                        in_order=s.in_order > 0, scalar=calls,
                        arrays=self._own(body, team=s.team) if s.shared else [])  # fmt: skip
        if isinstance(s, Store):
            if self.lanes is not None and self.lanes.sums(s):
                return self._lane_sum(s)
            value = self.spell(s.value)
            target = self.place(s.buffer, s.index)
            alone = self.lanes is not None and not self.lanes.apart(s)
            if s.op in ("=", "+", "*"):
                op = "=" if s.op == "=" else f"{s.op}="
                record = dict(kind="assign", target=target, op=op, value=value, alone=alone)
                record["scattered"] = s.apart > 0 and s.buffer.lanes == 0
                record["serial"] = self._is_serial(s)
                if s.buffer.role == "scalar":
                    record.update(self._scalar(s.buffer))
                return record
            if s.op in ("max", "min"):
                sign = ">" if s.op == "max" else "<"
                variable = self._fresh()
                if self._takes_extremum_by_bits(s):
                    select = self._helper("sg_select", s.value.dtype)
                    text = (
                        f"{select}(({value} {sign} {target}) | ({value} != {value}), "
                        f"{value}, {target})"
                    )
                    return dict(kind="assign", target=target, op="=", value=text, alone=alone)
                return dict(kind="extremum", type=C_TYPES[s.value.dtype], name=variable,
                            value=value, target=target, sign=sign,
                            is_float=s.value.dtype in FLOATS)  # fmt: skip
            text = f"{target} {s.op} ({value})"
            return dict(kind="assign", target=target, op="=", value=text, alone=alone)
        if isinstance(s, Flush):
            return self._flush(s)
        if isinstance(s, Merge):
            return self._merge(s)
        if isinstance(s, Zero):
            return self._zero(s)
        if isinstance(s, Best):
            variable = self._fresh()
            return dict(kind="best", type=C_TYPES[s.value.dtype], name=variable,
                        value=self.spell(s.value), target=self.place(s.buffer, s.index),
                        best=self.place(s.value_buffer, s.index), position=self.spell(s.position),
                        sign=">" if s.op == "argmax" else "<",
                        is_float=s.value.dtype.startswith("float"))  # fmt: skip
        if isinstance(s, Turns):
            arrays = [b.name for b in (s.angles, s.rests, s.quarters)]
            self.used.update(arrays)
            return dict(kind="turns", call=f"sg_turns({s.angles.size}, {', '.join(arrays)})")
        if isinstance(s, Rows):
            return self._rows(s)
        if isinstance(s, Check):
            return dict(kind="check", value=self.spell(s.value), size=s.size)
        if isinstance(s, Panels):
            return self._panels(s)
        if isinstance(s, Gemm):
            return self._gemm(s)
        if isinstance(s, Tiles):
            return self._tiles(s)
        assert isinstance(s, Call)
        dtype = s.target[0].dtype
        name = self._function(s.template, dtype)
        arguments = [self.address(b, i) for b, i in (*s.operands, s.target)]
        numbers = [str(int(n)) for n in (*s.dims, *s.flags)]
        return dict(kind="call", call=f"{name}({', '.join(arguments + numbers)})")

    def _rows(self, s: Rows) -> dict[str, Any]:
        assert self.lanes is not None
        name = "sg_put_rows" if s.write else "sg_take_rows" if s.start else "sg_turn_rows"
        self._helper("sg_tile", s.buffer.dtype)
        function = self._helper(name, s.buffer.dtype)
        self.used.update(b.name for b in (s.lanes, s.buffer, s.start) if b is not None)
        arguments = [str(self.lanes.extent), str(math.prod(s.lanes.shape))]
        if s.start is not None:
            arguments += [s.buffer.name, s.start.name, s.lanes.name]
        else:
            block = self.lanes.loop.index
            within = self.loop_names[block]
            self.loop_names[block] = f"i{block.attrs[0]}"  # of the first lane
            rows = self.address(s.buffer, s.index)
            self.loop_names[block] = within
            if s.write:
                arguments += [s.lanes.name, rows, *_steps(s.buffer, (s.index.index(block),))]
            else:
                arguments += [str(self.lanes.loop.lanes), rows, s.lanes.name]
        return dict(kind="rows", call=f"{function}({', '.join(arguments)})")

    def _helper(self, name: str, dtype: str) -> str:
        """The name of a small function for a dtype, which the file will have."""
        self.helpers[(name, dtype)] = None
        return name + ("f" if dtype == "float32" else "")

    def _function(self, template: str, dtype: str) -> str:
        """The name of a kernel that the file will have."""
        self.calls[(template, dtype)] = None
        return f"sg_{template}" + ("f" if dtype == "float32" else "")

    def _panels(self, s: Panels) -> dict[str, Any]:
        dtype, in_rows = s.panels.dtype, len(s.panels.shape) == 2
        across, along = _steps(s.buffer, s.axes)
        numbers = [self.spell(s.count), self.spell(s.inner)]
        arguments = [*numbers, self.address(s.buffer, s.first), across]
        if not in_rows:
            self._helper("sg_tile", dtype)
            arguments = [str(s.panels.shape[2]), *arguments, along, str(s.skip)]
        arguments += [str(s.panels.shape[1]), s.panels.name]  # room for so many summands
        function = self._helper("sg_copy_rows" if in_rows else "sg_panels", dtype)
        return dict(kind="panels", call=f"{function}({', '.join(arguments)})")

    def _tiles(self, s: Tiles) -> dict[str, Any]:
        name = self._function("product", s.buffer.dtype)
        target = [self.address(s.buffer, s.index), *_steps(s.buffer, s.axes)]
        carry = ["NULL", "0", "0"] if ("product", s.buffer.dtype) in self.carrying else []
        if s.carry is not None:
            carry = [self.address(s.carry, s.carry_index), *_steps(s.carry, s.axes)]
        pointers = [self.address(b, ()) for b in (s.left, s.right)]
        numbers = [self.spell(n) for n in
                   (s.rows, s.columns, s.inner, s.begin, s.diagonal, s.reach)]  # fmt: skip
        length, in_rows = s.left.shape[1], len(s.left.shape) == 2
        steps_left = (length, length, 1) if in_rows else (length, 1, s.left.shape[2])
        strides = map(str, (*steps_left, s.right.shape[1], s.skip))
        arguments = [*pointers, *strides, *numbers, *target, *carry]
        return dict(kind="product", call=f"{name}({', '.join(arguments)})")

    def _gemm(self, s: Gemm) -> dict[str, Any]:
        self.blas = True
        arguments = [self.spell(n) for n in (s.rows, s.columns, s.inner, s.begin)]
        for m in s.matrices:
            arguments += [self.address(m.buffer, m.first), *_steps(m.buffer, m.axes)]
        arguments.pop()  # columns of the target are neighbours
        name = self._function("gemm", s.target.buffer.dtype)
        return dict(kind="product", call=f"{name}({', '.join(arguments)})")

    # ---- blocks of lanes -----------------------------------------------------------------------

    def blocks(self, loop: Loop, depth: int) -> list[dict[str, Any]]:
        """A loop in blocks of lanes: the full blocks, then the shorter last one."""
        self.simd = True
        out: list[dict[str, Any]] = []
        full = loop.extent if loop.again else loop.extent // loop.lanes * loop.lanes
        name = f"i{loop.index.attrs[0]}"
        chunk = f"{name}_chunk"
        for start, stop, extent in ((0, full, loop.lanes), (full, loop.extent, loop.extent - full)):
            if start == stop:
                continue
            names, defined = self.names.copy(), self.defined.copy()
            self.lanes = Lanes(loop, self.buffers, f"l{loop.index.attrs[0]}", extent)
            self.loop_names[loop.index] = f"{name} + {self.lanes.name}"
            self.branchless = True
            records = lanes_apart(self.body(loop.body, depth + 1), self.lanes)
            self.lanes, self.branchless = None, False
            # What was declared inside is declared again in the other block.
            self.names, self.defined = names, defined
            if loop.chunks:
                first = f"{chunk} * {loop.chunk_points}"
                if start:  # the shorter block is part of the last chunk
                    first = f"{chunk} < {loop.chunks - 1} ? {stop} : {start}"
                block = dict(kind="blocks", index=name, start=first,
                             stop=stop if start else f"{chunk}_stop", step=extent,
                             overlaps=stop % extent > 0, last=stop - extent)  # fmt: skip
                out.append({**block, "body": records, "flush": [], "between": 0})
                continue
            between = loop.flush_blocks * loop.lanes if loop.flush else 0
            flush = self.body(loop.flush, depth) if loop.flush and between < stop - start else []
            block = dict(kind="blocks", index=name, start=start, stop=stop, step=extent,
                         overlaps=stop % extent > 0, last=stop - extent)  # fmt: skip
            out.append({**block, "body": records, "flush": flush, "between": between})
        if loop.chunks:
            return [self._chunks(loop, chunk, full, out, depth)]
        return out + self.body(loop.flush, depth)

    def _chunks(
        self, loop: Loop, name: str, full: int, blocks: list[dict[str, Any]], depth: int
    ) -> dict[str, Any]:
        """A loop over chunks of blocks, which threads share; its arrays are those of a chunk."""
        assert loop.chunk is not None
        self.parallel = True
        self.loop_names[loop.chunk] = name
        body = blocks + self.body(loop.flush, depth)
        sums = {s.partial.number for s, _ in statements(loop.flush)}
        arrays = self._own(body, sums)
        return dict(kind="chunks", index=name, count=loop.chunks, points=loop.chunk_points,
                    full=full, arrays=arrays, body=body)  # fmt: skip

    def _own(
        self,
        body: list[dict[str, Any]],
        zero: Collection[int] = (),
        team: Buffer | None = None,
    ) -> list[dict[str, Any]]:
        """The arrays that each round of a loop shared by threads has; those in `zero` begin so.

        In `team` are those that each thread has in the workspace.
        """
        words = set().union(*map(_words, body))
        arrays = [b for b in self.program.buffers if b.name in words]
        result = [dict(name=b.name, type=C_TYPES[b.dtype], size=b.size, zero=b.number in zero)
                  for b in arrays if b.role == "own"]  # fmt: skip
        if team is not None:
            mine = f"{team.name} + SG_MEMBER * {team.shape[1]}"
            result += [dict(name=b.name, type=C_TYPES[b.dtype], place=f"{mine} + {b.offset // 8}")
                       for b in arrays if b.role == "member"]  # fmt: skip
        return result

    def _is_serial(self, s: Store) -> bool:
        """Whether some compilers must be kept from adding in vectors: see compilers/serial.h.

        That is where a loop around short ones, which compilers write out, adds elements of a group
        in another order than memory has.
        """
        if not _adds(s) or self.lanes is not None:
            return False
        moving = set(toposort(s.index))
        short: list[Loop] = []  # loops inside of the one looked at that do not move the target
        for loop in reversed(self.path):
            if loop.index not in moving:
                if s.buffer.number in self.added_twice or not self._reads_in_order(s, short):
                    return True
                short.insert(0, loop)
            if loop.extent > _WRITTEN_OUT:
                break
        return False

    def _reads_in_order(self, s: Store, loops: Sequence[Loop]) -> bool:
        """Whether loops that add to one element read all arrays in the order of memory."""
        # A compiler sees through small arrays to what was stored there, in whatever order.
        reads = [(self.buffers[n.attrs[0]], n.args) for n in loads((s.value,)) if n.args]
        return not loops or all(
            b.role in ("in", "data", "constant") and _ascends(b, index, loops)
            for b, index in reads
        )

    def _takes_extremum_by_bits(self, s: Store) -> bool:
        """Without a branch where lanes have a maximum each; over all lanes there is nothing to
        vectorise, and a long chain of selections keeps clang busy for minutes."""
        apart = self.lanes is None or self.lanes.apart(s)
        return self.branchless and apart and s.value.dtype in FLOATS

    def _operand(self, s: Store) -> list[dict[str, Any]]:
        """The right-hand side as a variable, where its text would stand in a bad place.

        A loop that adds up lanes vectorises no function calls; a branchless maximum names its
        operand three times.
        """
        sums = self.lanes is not None and self.lanes.sums(s)
        extremum = s.op in ("max", "min") and self._takes_extremum_by_bits(s)
        if not (sums or extremum) or not s.value.args or s.value in self.names:
            return []
        if sums and not re.search(r"\w\(", self.spell(s.value)):
            return []
        self.met = set()
        text, name = self.spell(s.value), self._fresh()
        self.names[s.value] = name
        self.defined[name] = s.value.dtype
        kind = dict(kind="declare", type=C_TYPES[s.value.dtype], shared=False)
        return [{**kind, **dict.fromkeys(self.met, True), "name": name, "value": text}]

    def _lane_sum(self, s: Store) -> dict[str, Any]:
        """The sum over the lanes of one block, added to a target that all blocks share."""
        assert self.lanes is not None
        assert s.partial is not None
        return dict(kind="lane sum", index=self.lanes.name, width=LANES, extent=self.lanes.extent,
                    target=self.place(s.partial, s.index), value=self.spell(s.value))  # fmt: skip

    def _inner_sum(self, loop: Loop, name: str, depth: int) -> dict[str, Any]:
        """A sum that every lane has for itself: its loop goes inside the one over the lanes."""
        before: list[dict[str, Any]] = []
        adds = []
        met: set[str] = set()
        for s in loop.body:
            before += self._declarations(s, depth + 1)
            met |= {what for r in before for what in _MET if r.get(what)}
            self.met = set()
            adds.append(dict(target=self.place(s.buffer, s.index), value=self.spell(s.value),
                             type=C_TYPES[s.buffer.dtype], name=self._fresh(),
                             part=self._fresh()))  # fmt: skip
            met |= self.met
        begin, end = self._bounds(loop)
        block = self.tuning.inner_block
        cut = loop.is_plain and loop.extent > block
        full = loop.extent // block * block if cut else 0
        self.met = met
        return dict(kind="inner sum", index=name, begin=full or begin, end=end, before=before,
                    adds=adds, start=self._fresh(), block=block, full=full,
                    rest=not cut or full < loop.extent)  # fmt: skip

    def _bounds(self, loop: Loop) -> tuple[str, str]:
        start = "0" if loop.start is None else self.spell(loop.start)
        return start, str(loop.extent) if loop.stop is None else self.spell(loop.stop, _COMPARE)

    def _flush(self, s: Flush) -> dict[str, Any]:
        arguments = [
            str(_size_behind(s.buffer, s.index)),
            str(s.partial.lanes or 1),
            self.address(s.partial, s.at),
            self.address(s.buffer, s.index),
        ]
        if ("sg_add_lanes", s.buffer.dtype) in self.carrying:
            arguments.append("NULL" if s.carry is None else self.address(s.carry, ()))
        function = self._helper("sg_add_lanes", s.buffer.dtype)
        return dict(kind="flush", call=f"{function}({', '.join(arguments)})", target=s.buffer.name)

    def _merge(self, s: Merge) -> dict[str, Any]:
        sums, part = self.address(s.buffer, s.index), self.address(s.part, s.part_index)
        first = f"{self.spell(s.round, _EQUAL)} == 0"
        arguments = [str(_size_behind(s.buffer, s.index)), first, part, sums]
        if ("sg_merge", s.buffer.dtype) in self.carrying:
            arguments.append("NULL" if s.carry is None else self.address(s.carry, s.carry_index))
        function = self._helper("sg_merge", s.buffer.dtype)
        return dict(kind="merge", call=f"{function}({', '.join(arguments)})", target=s.buffer.name)

    def _zero(self, s: Zero) -> dict[str, Any]:
        if s.buffer.role == "scalar":
            target = self.place(s.buffer, ())
            zero = dict(kind="assign", target=target, op="=", value="0")
            return {**zero, **self._scalar(s.buffer)}
        self.used.add(s.buffer.name)
        if not s.index:
            return dict(kind="zero", name=s.buffer.name, begin="", size=s.buffer.size)
        begin = self._offset(s.buffer, [*s.index, *[None] * (len(s.buffer.shape) - len(s.index))])
        return dict(kind="zero", name=s.buffer.name, begin=f"{begin} + ",
                    size=_size_behind(s.buffer, s.index))  # fmt: skip

    def _is_sum(self, loop: Loop) -> bool:
        """Whether a loop only adds to targets that it does not move."""
        return loop.extent >= 2 * LANES and loop.is_plain and all(
            isinstance(s, Store)
            and s.op == "+"
            and s.buffer.dtype in ("float64", "float32")
            and not any(self.depth[i] >= self.index_depth[loop.index] for i in s.index)
            for s in loop.body
        )

    def _is_extremum(self, loop: Loop) -> bool:
        """Whether a long loop only takes maxima and minima that it does not move."""
        return loop.extent >= 2 * self.tuning.extremum_lanes and loop.is_plain and all(
            isinstance(s, Store)
            and s.op in ("max", "min")
            and s.buffer.dtype in FLOATS
            and not any(self.depth[i] >= self.index_depth[loop.index] for i in s.index)
            and not any(n.op is GUARD for n in toposort([s.value]))
            for s in loop.body
        )

    def _extremum(self, loop: Loop, name: str, depth: int) -> dict[str, Any]:
        """Maxima in lanes: which of them is the greatest does not depend on the order."""
        first = self.names.copy()
        records = self.body(loop.body, depth + 1)
        self.names = first  # what was declared inside is declared again behind the lanes
        self.simd = True
        lanes = self.tuning.extremum_lanes
        return dict(
            kind="extremum in lanes", index=name, lanes=lanes, extent=loop.extent,
            scalar=any(r.get("calls") for r in records),
            full=loop.extent // lanes * lanes, start=self._fresh(),
            lane=self._fresh(), before=[r for r in records if r["kind"] != "extremum"],
            extrema=[dict(r, partial=self._fresh(), select=self._helper("sg_select", s.value.dtype))
                     for r, s in zip((r for r in records if r["kind"] == "extremum"), loop.body,
                                     strict=True)],
        )  # fmt: skip

    def _sum(self, loop: Loop, name: str, depth: int) -> dict[str, Any]:
        """Partial sums in lanes, in an order that no compiler or vector width can change.

        Lanes vectorise without leave to re-associate, and shorten the chain of roundings; blocks of
        a long sum are added with compensation, so that the error does not grow with its length.
        """
        first = self.names.copy()
        records = self.body(loop.body, depth + 1)
        self.names = first  # what was declared inside is declared again behind the lanes
        adds = [r for r in records if r["kind"] == "assign"]
        full = loop.extent // LANES * LANES
        block = self.tuning.sum_block
        long = loop.extent > block
        calls = any(r.get("calls") for r in records)
        vector = calls and not any(r.get("branches") for r in records)
        self.simd = self.simd or vector
        return dict(
            scalar=calls, vector=vector,
            kind="sum", index=name, lanes=LANES, full=full, extent=loop.extent,
            block=block if long else full, position=self._fresh(), start=self._fresh(),
            lane=self._fresh(), long=long, before=[r for r in records if r["kind"] != "assign"],
            sums=[
                dict(target=a["target"], value=a["value"], type=C_TYPES[s.buffer.dtype],
                     partial=self._fresh(), total=self._fresh(), carry=self._fresh(),
                     values=self._fresh() if vector else "")
                for a, s in zip(adds, loop.body, strict=True)
            ],
        )  # fmt: skip

    def _scalar(self, buffer: Buffer) -> dict[str, Any]:
        """The first store to a local variable declares it."""
        self.used.add(buffer.name)
        if buffer.name in self.defined:
            return {}
        self.defined[buffer.name] = buffer.dtype
        return dict(kind="define", type=C_TYPES[buffer.dtype])

    def _fresh(self) -> str:
        self.counter += 1
        return f"t{self.counter - 1}"

    # ---- expressions ---------------------------------------------------------------------------

    def place(self, buffer: Buffer, index: Sequence[Expr]) -> str:
        """An element of a buffer as an lvalue."""
        self.used.add(buffer.name)
        if self.lanes is not None and not _walks(self.lanes.loop.index, buffer, index):
            self.met.add("uneven")
        if buffer.role == "scalar" or (buffer.role == "in" and not buffer.shape):
            return buffer.name
        return f"{buffer.name}[{self._offset(buffer, index)}]"

    def address(self, buffer: Buffer, index: Sequence[Expr]) -> str:
        """A pointer to a part of a buffer; missing indices are 0."""
        self.used.add(buffer.name)
        if buffer.role == "scalar":
            return f"&{buffer.name}"
        if buffer.lanes and not index:
            return buffer.name
        full = [*index, *[None] * (len(buffer.shape) - len(index))]
        offset = self._offset(buffer, full)
        return buffer.name if offset == "0" else f"&{buffer.name}[{offset}]"

    def _offset(self, buffer: Buffer, index: Sequence[Expr | None]) -> str:
        """Row-major offset; (i / n) * n + i % n from a reshaped read is i again."""
        terms: list[str] = []
        constant = 0
        kept = buffer.kept_axes
        width = max(buffer.lanes, 1)
        strides = {a: n * width for a, n in zip(kept, row_strides(buffer.kept_shape), strict=True)}
        entries = [(index[a], strides[a]) for a in kept if index[a] not in (None, _ZERO)]
        entries = _join_divisions(entries)
        for entry, stride in entries:
            assert entry is not None
            base, shift = _split_constant(entry)
            constant += shift * stride
            if base is None or self.loop_names.get(base) == "0":
                continue
            text = self.spell(base, _TIMES if stride != 1 else _PLUS)
            terms.append(text if stride == 1 else f"{text} * {stride}")
        if buffer.lanes:
            terms.append(self.lanes.name)  # type: ignore[union-attr]
        if constant or not terms:
            terms.append(str(constant) if constant >= 0 or not terms else f"- {-constant}")
        return " + ".join(terms).replace("+ - ", "- ")

    def spell(self, node: Expr, above: int = 0) -> str:
        """C text of a scalar expression. Recursion is bounded by _TREE_LIMIT."""
        text, level = self._spell(node)
        return f"({text})" if level <= above and level != _ATOM else text

    def _spell(self, node: Expr) -> tuple[str, int]:
        if node in self.names:
            self.used.add(self.names[node])
            return self.names[node], _ATOM
        if node.op is CONST:
            return literal(const_value(node), node.dtype), _ATOM
        if node.op is INDEX:
            name = self.loop_names[node]
            return name, _PLUS if "+" in name else _ATOM
        if node.op is LOAD:
            return self.place(self.buffers[node.attrs[0]], node.args), _ATOM
        if node.op is CONVERT:
            if node.args[0].dtype == "bool" and node.dtype not in FLOATS:
                # gcc's -Wbool-compare sees through a cast where the number is compared
                choice = f"{self.spell(node.args[0], _OR)} ? 1 : 0"
                return f"({C_TYPES[node.dtype]})({choice})", _UNARY
            return f"({C_TYPES[node.dtype]}){self.spell(node.args[0], _UNARY)}", _UNARY
        template = _spelling(node)
        assert template is not None, f"{node.name} has no C spelling"
        if node.op.cost >= COSTLY:
            self.met.add("calls")
        if node.op is GUARD:
            self.met |= {"branches", "uneven"}
        kind = node.args[-1].dtype
        suffix = (
            "f" if kind == "float32" else "l32" if kind == "int32" and "sg_" in template else ""
        )
        for helper in re.findall(r"\bsg_\w+", template):
            self.helpers[(helper, kind)] = None
        template = template.replace("@", "f" if kind == "float32" else "")
        if self.branchless and "?" in template and node.op is not GUARD and node.dtype in FLOATS:
            template = without_branches(template, "f" if node.dtype == "float32" else "")
            self.helpers[("sg_select", node.dtype)] = None
        if suffix == "l32":
            template = re.sub(r"\b(sg_\w+)", r"\g<1>32", template)
        level = _level(template)
        if level == _ATOM:
            operands = [self.spell(a) for a in node.args]
        elif level in (_TIMES, _PLUS) and ("/" in template or "-" in template or "%" in template):
            operands = [self.spell(node.args[0], level - 1), self.spell(node.args[-1], level)]
            if len(node.args) == 1:
                operands = [self.spell(node.args[0], level)]
        elif level in (_TIMES, _PLUS):
            # parentheses on the right only: floating point is not associative
            operands = [self.spell(node.args[0], level - 1), self.spell(node.args[-1], level)]
        else:
            # gcc's -Wparentheses asks for them in a < b == c < d
            above = _COMPARE if level in (_EQUAL, _COMPARE) else max(level, _EQUAL)
            operands = [self.spell(a, above) for a in node.args]
        return template.format(*operands), level


def _adds(s: Any) -> bool:
    return isinstance(s, Store) and s.op == "+" and s.buffer.dtype in FLOATS


def _ascends(buffer: Buffer, index: Sequence[Expr], loops: Sequence[Loop]) -> bool:
    """Whether nested loops read elements in the order of memory, or always the same one."""
    strides = row_strides(buffer.kept_shape)
    reached = 0
    for loop in reversed(loops):
        parts = [_coefficient(index[a], loop.index) for a in buffer.kept_axes]
        if None in parts:
            return False
        step = sum(n * stride for n, stride in zip(parts, strides, strict=True))  # type: ignore[operator]
        if step < 0 or (step <= reached and reached):
            return False
        reached += step * loop.extent
    return True


def _coefficient(entry: Expr, index: Expr) -> int | None:
    """How much an entry of an index grows with a loop variable; None if it is not linear in it."""
    if entry is index:
        return 1
    if index not in toposort([entry]):
        return 0
    if entry.op in (ADD, SUBTRACT):
        a, b = (_coefficient(part, index) for part in entry.args)
        return None if a is None or b is None else a + b if entry.op is ADD else a - b
    if entry.op is MULTIPLY:
        for factor, other in (entry.args, entry.args[::-1]):
            if factor.op is CONST:
                inner = _coefficient(other, index)
                return None if inner is None else int(const_value(factor)) * inner
    return None


def _size_behind(buffer: Buffer, index: Sequence[Expr]) -> int:
    """The number of elements that have this index of the first axes."""
    return math.prod(buffer.shape[a] for a in buffer.kept_axes if a >= len(index))


def _steps(buffer: Buffer, axes: Sequence[int]) -> list[str]:
    """How many elements apart neighbours along `axes` are."""
    strides = row_strides(buffer.kept_shape)
    return [str(strides[buffer.kept_axes.index(a)]) for a in axes]


def _open_single_rounds(body: list[Any]) -> tuple[list[Any], list[Expr], dict[int, list[Any]]]:
    """A copy of a body with the body of each loop of one round in its place.

    With the variables of these loops, which are all 0, and by `id` of each list of statements the
    one where they stand now. Code on elements of an array is full of such loops, and only what
    stands in no loop can be cut into parts.
    """
    bodies = [body]
    for old in bodies:  # which grows meanwhile
        bodies.extend(b for s in old if isinstance(s, Loop) for b in (s.body, s.flush))
    zeros: list[Expr] = []
    made: dict[int, list[Any]] = {}
    opened: dict[int, int] = {}
    for old in reversed(bodies):  # from the inside out
        new = made[id(old)] = []
        for s in old:
            if not isinstance(s, Loop):
                new.append(s)
            elif s.extent == 1 and s.is_plain and not s.lanes:
                zeros.append(s.index)
                new += made[id(s.body)]
                opened[id(s.body)] = id(old)
            else:
                new.append(replace(s, body=made[id(s.body)], flush=made[id(s.flush)]))
    for old in bodies:  # from the outside in
        if id(old) in opened:
            made[id(old)] = made[opened[id(old)]]
    return made[id(body)], zeros, made


def _is_elementwise(loop: Loop, tuning: Tuning) -> bool:
    """Whether the rounds of a loop are independent of each other, and worth vectorising.

    Each round stores to elements of its own, and reads of what the loop writes only these. Short
    loops are worth it for functions such as exp.
    """
    if loop.extent < tuning.vector_from_rounds or not all(isinstance(s, Store) for s in loop.body):
        return False
    nodes = toposort([v for s in loop.body for v in values(s)])
    if loop.extent < 2 * LANES and all(n.op.cost < COSTLY for n in nodes):
        return False
    written: dict[int, tuple[Expr, ...]] = {}
    for s in loop.body:
        extremum = s.op in ("max", "min") and s.buffer.dtype in FLOATS  # by choices of bits
        if s.op not in ("=", "+", "*") and not extremum:
            return False
        own = any(is_next(i, loop.index) for i in s.index)
        own = own or is_flat(s.buffer, s.index, loop.index)
        own = own or (s.op == "=" and s.buffer.role == "scalar")
        if not own or written.setdefault(s.buffer.number, s.index) != s.index:
            return False
    reads = [n for s in loop.body for n in loads(values(s))]
    if any(n.args != written.get(n.attrs[0], n.args) for n in reads):
        return False
    # A part that must not be evaluated everywhere keeps its branch.
    return not any(n.op is GUARD for n in nodes)


def _calls_apart(loop: Loop, buffers: dict[int, Buffer]) -> Iterator[Expr]:
    """Calls in lanes that need a loop of their own, and what stands in their operands.

    Compilers choose whether a loop with a branch, or the last rounds of one that does not walk
    through memory step by step, are vectors: hence which function is called there.
    """
    uneven: dict[Expr, bool] = {}
    for s, _ in statements(loop.body):
        roots = values(s)
        for node in toposort(roots):
            if node in uneven:
                continue
            uneven[node] = (
                node.op is GUARD
                or any(uneven[a] for a in node.args)
                or (node.op is LOAD and not _walks(loop.index, buffers[node.attrs[0]], node.args))
            )
            if node.op.cost >= COSTLY:
                yield from (a for a in node.args if uneven[a])
        jumps = isinstance(s, Store) and not _walks(loop.index, s.buffer, s.index)
        seen: set[Expr] = set()
        stack = [r for r in roots if jumps or uneven[r]]
        while stack:
            node = stack.pop()
            if node not in seen:
                seen.add(node)
                if node.op.cost >= COSTLY:
                    yield node
                stack.extend(node.args[:1] if node.op is GUARD else node.args)


def _walks(index: Expr, buffer: Buffer, at: Sequence[Expr]) -> bool:
    """Whether the next lane has the next element of a buffer, or the same one."""
    if buffer.lanes or buffer.role == "scalar":
        return True
    strides = row_strides(buffer.kept_shape)
    parts = [_coefficient(at[a], index) for a in buffer.kept_axes]
    if None in parts:
        return False
    return sum(n * k for n, k in zip(parts, strides, strict=True)) in (0, 1)  # type: ignore[operator]


def _spelling(node: Expr) -> str | None:
    row = node.op
    if row.c_int is not None and node.args[-1].dtype not in ("float32", "float64"):
        return row.c_int
    if row.c is not None and node.args[0].op is CONST and not np.isnan(const_value(node.args[0])):
        return row.c.replace(" || {0} != {0}", "")  # for NaN only
    return row.c


def _level(template: str) -> int:
    if re.fullmatch(r"\w+@?\(.*\)|\{0\}|\w+", template):
        return _ATOM
    outside = re.sub(r"\([^()]*\)", "()", template)
    for operator, level in sorted(_OPERATORS, key=lambda item: item[1]):
        if operator in outside:
            return level
    return _UNARY


def _split_constant(index: Expr) -> tuple[Expr | None, int]:
    """index = base + constant."""
    shift = 0
    node: Expr | None = index
    while node is not None:
        if node.op is CONST:
            return None, shift + int(const_value(node))
        if node.op is ADD and node.args[0].op is CONST:
            shift += int(const_value(node.args[0]))
            node = node.args[1]
        elif node.op is ADD and node.args[1].op is CONST:
            shift += int(const_value(node.args[1]))
            node = node.args[0]
        elif node.op is SUBTRACT and node.args[1].op is CONST:
            shift -= int(const_value(node.args[1]))
            node = node.args[0]
        else:
            break
    return node, shift


def _join_divisions(entries: list[tuple[Any, int]]) -> list[tuple[Any, int]]:
    """Adjacent (e / n, n s), (e % n, s) is (e, s)."""
    changed = True
    while changed:
        changed = False
        for k in range(len(entries) - 1):
            (high, high_stride), (low, low_stride) = entries[k], entries[k + 1]
            if high.op is INDEX_DIV and low.op is INDEX_MOD and high.args == low.args:
                if high_stride == low_stride * int(const_value(low.args[1])):
                    entries = [*entries[:k], (low.args[0], low_stride), *entries[k + 2 :]]
                    changed = True
                    break
    return entries


# ---- files -----------------------------------------------------------------------------------


def emit(
    program: Program,
    name: str,
    *,
    tuning: Tuning = HOST_TUNING,
    comment: Sequence[str] = (),
    version: str = "",
    input_notes: Sequence[str] = (),
    output_notes: Sequence[str] = (),
) -> Source:
    """C source and header of a program. All text in `comment` and notes must be comment-safe."""
    emitter = _Emitter(program, tuning)
    records = emitter.whole()
    workspace = program.workspace_bytes
    parts, slots = _parts(records, emitter, workspace // 8)
    workspace += -(-8 * slots // 64) * 64
    arrays = [b for b in program.buffers if b.role in ("local", "work")]
    if len(parts) > 1:  # arrays that several parts share cannot be on one part's stack
        arrays = [copy(b) for b in arrays]
        for b in arrays:
            if b.role == "local":
                b.role, b.offset = "work", workspace
                workspace += b.room
    used = set().union(*(p.used for p in parts))
    shared = _shared(arrays)
    helpers = _helpers(emitter)
    constants = [b for b in program.buffers if b.role == "constant" and b.name in used]
    captured = [b for b in program.inputs if b.role == "data"]
    context = dict(
        name=name,
        captured=[
            dict(name=f"{name}_{b.name}", type=C_TYPES[b.dtype], size=b.size) for b in captured
        ],
        entry=f"{name}_entry",
        comment=list(comment),
        version=version,
        inputs=[_parameter(b, note) for b, note in _notes(program.inputs, input_notes)],
        outputs=[_parameter(b, note) for b, note in _notes(program.outputs, output_notes)],
        constants=[
            dict(
                name=b.name,
                type=C_TYPES[b.dtype],
                size=b.size,
                values=[literal(v, b.dtype) for v in np.ravel(b.data)],  # type: ignore[arg-type]
            )
            for b in constants
        ],
        parts=[
            dict(
                records=p.records,
                unit=k // tuning.unit_parts,
                arrays=[_array(b, shared) for b in arrays if b.name in p.used],
                parameters=[
                    b.name for b in (*program.inputs, *program.outputs) if b.name in p.used
                ],
            )
            for k, p in enumerate(parts)
        ],
        simd=emitter.simd,
        parallel=emitter.parallel,
        team=any(s.members for s in program.body if isinstance(s, Loop)),
        vector_math=_vector_math(used, helpers),
        workspace=workspace,
        workspace_doubles=workspace // 8,
        kernels="SG_KERNEL" in _words(helpers),
        helpers=helpers,
    )
    return Source(
        c=TEMPLATES.get_template("function.c.jinja").render(context),
        header=TEMPLATES.get_template("function.h.jinja").render(context),
        name=name,
        entry=f"{name}_entry",
        workspace_bytes=workspace,
        data=tuple(b.data for b in captured),  # type: ignore[misc]
        data_names=tuple(f"{name}_{b.name}" for b in captured),
        units=-(-len(parts) // tuning.unit_parts),
        parallel=emitter.parallel,
        blas=emitter.blas,
    )


def data_source(source: Source) -> str:
    """C file that defines the captured arrays under the names that the header declares."""
    arrays = [
        dict(name=name, type=C_TYPES[str(d.dtype)], size=d.size,
             values=[literal(v, str(d.dtype)) for v in d.reshape(-1)])
        for name, d in zip(source.data_names, source.data, strict=True)
    ]  # fmt: skip
    return TEMPLATES.get_template("data.c.jinja").render(name=source.name, arrays=arrays)


def _notes(buffers: Sequence[Buffer], notes: Sequence[str]):
    return zip(buffers, [*notes, *[""] * (len(buffers) - len(notes))], strict=True)


def _parameter(b: Buffer, note: str) -> dict[str, Any]:
    shape = "".join(f"[{n}]" for n in b.shape)
    return dict(name=b.name, type=C_TYPES[b.dtype], shape=shape, size=b.size,
                by_value=b.role == "in" and not b.shape, note=note)  # fmt: skip


def _array(b: Buffer, shared: set[int]) -> dict[str, Any]:
    return dict(name=b.name, type=C_TYPES[b.dtype], size=max(b.size, 1), role=b.role,
                offset=b.offset // 8, alone=b.number not in shared)  # fmt: skip


def _shared(arrays: Sequence[Buffer]) -> set[int]:
    """The arrays that lie in a part of the workspace where another one lies as well."""
    found: set[int] = set()
    reach, last = -1, -1  # the furthest end so far, and whose it is
    sizes = sorted((b.offset, b.offset + b.nbytes, b.number) for b in arrays if b.role == "work")
    for start, end, number in sizes:
        if start < reach and start < end:
            found |= {number, last}
        if end > reach:
            reach, last = end, number
    return found


@dataclass
class _Part:
    """A piece of the function that is compiled on its own."""

    records: list[dict[str, Any]]
    used: set[str]


def _words(record: Any) -> set[str]:
    """Every identifier in the text of a record, nested statements included."""
    found: set[str] = set()
    stack = [record]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            found.update(_WORD.findall(item))
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return found


def _parts(
    records: list[dict[str, Any]], emitter: _Emitter, slot_offset: int
) -> tuple[list[_Part], int]:
    """Cut the function where it gets long; returns the parts and the number of slots.

    Values that cross a cut travel through workspace slots, stored where they are computed and
    loaded where they are first used: everything else stays local, and live ranges stay short.
    Both matter: compilers take several times longer otherwise.
    """
    tuning = emitter.tuning
    if len(records) <= tuning.part_statements:
        return [_Part(records, _words(records))], 0
    words = [_words(r) for r in records]
    defined = {_defined(r): k for k, r in enumerate(records)}
    read = [sorted(w & defined.keys(), key=lambda n: (len(n), n)) for w in words]
    starts = _starts(read, defined, tuning.part_statements)
    crossing: dict[str, int] = {}
    parts: list[_Part] = []
    for start, end in zip(starts, [*starts[1:], len(records)], strict=True):
        for names in read[start:end]:
            for name in names:
                if defined[name] < start:
                    crossing.setdefault(name, slot_offset + len(crossing))
    for start, end in zip(starts, [*starts[1:], len(records)], strict=True):
        out: list[dict[str, Any]] = []
        loaded: set[str] = set()
        last_write = _last_writes(records[start:end], crossing)
        written = {name for names in last_write.values() for name in names}
        for k in range(start, end):
            for name in read[k]:
                if defined[name] < start and name not in loaded:
                    loaded.add(name)
                    kind = "define" if name in written else "declare"
                    ctype = C_TYPES[emitter.defined[name]]
                    value = _slot(ctype, crossing[name])
                    out.append(dict(kind=kind, type=ctype, name=name, target=name, value=value))
            out.append(records[k])
            for name in last_write.get(k - start, ()):
                target = _slot(C_TYPES[emitter.defined[name]], crossing[name])
                out.append(dict(kind="assign", target=target, op="=", value=name))
        parts.append(_Part(out, set().union(*words[start:end])))
    return parts, len(crossing)


def _slot(ctype: str, number: int) -> str:
    """A value in the workspace, in its own type: not every int64_t is a double."""
    return f"work[{number}]" if ctype == "double" else f"*({ctype} *)(void *)(work + {number})"


def _defined(record: dict[str, Any]) -> str | None:
    """The variable that a record declares, if it does."""
    if record["kind"] in ("declare", "define"):
        return record.get("name") or record["target"]
    return None


def _starts(read: Sequence[Sequence[str]], defined: dict[str | None, int], most: int) -> list[int]:
    """Where each part begins: loads of values from before count as statements."""
    starts = [0]
    size = 0
    loaded: set[str] = set()
    for k, names in enumerate(read):
        loads_ = {n for n in names if defined[n] < starts[-1]} - loaded
        if size + 1 + len(loads_) > most and k > starts[-1]:
            starts.append(k)
            size = 0
            loaded = set()
            loads_ = {n for n in names if defined[n] < k}
        size += 1 + len(loads_)
        loaded |= loads_
    return starts


def _last_writes(records: list[dict[str, Any]], crossing: dict[str, int]) -> dict[int, list[str]]:
    """For each record, the crossing variables that are complete behind it."""
    last: dict[str, int] = {}
    for k, record in enumerate(records):
        for name in record["writes"]:
            if name in crossing:
                last[name] = k
    result: dict[int, list[str]] = {}
    for name, k in last.items():
        result.setdefault(k, []).append(name)
    return result


def _helpers(emitter: _Emitter) -> list[str]:
    """Static functions the file needs: small ones for operations, kernels for calls."""
    out: list[str] = []
    for helper, dtype in emitter.helpers:
        if helper != "sg_select":
            carries = (helper, dtype) in emitter.carrying
            out.append(_render(f"helpers/{helper}.c.jinja", helper, dtype, carries))
    words = _words(out) | {f"{h}f" if d == "float32" else h for h, d in emitter.helpers}
    for name, dtype in (("sg_selectf", "float32"), ("sg_select", "float64")):
        if name in words:  # other helpers use it
            out.insert(0, _render("helpers/sg_select.c.jinja", "sg_select", dtype))
    if "sg_bits_of" in words:
        out.insert(0, _render("helpers/sg_bits_of.c.jinja", "sg_bits_of", "float64"))
    for call, dtype in emitter.calls:
        carries = (call, dtype) in emitter.carrying
        out.append(_render(f"call/{call}.c.jinja", f"sg_{call}", dtype, carries))
    return out


_SIN_AND_COS = ("sin", "cos")  # C functions: gcc makes one call of both, which is no vector


def _vector_math(used: set[str], helpers: list[str]) -> list[dict[str, Any]]:
    """Declarations of the functions in use that glibc has for vectors."""
    words = used | _words(helpers)
    return [
        dict(name=name + suffix, type=ctype, two=arguments == 2, alias=name in _SIN_AND_COS)
        for name, arguments in sorted(vector_functions().items())
        for suffix, ctype in (("", "double"), ("f", "float"))
        if name + suffix in words
    ]  # fmt: skip


def _render(template: str, name: str, dtype: str, carries: bool = False) -> str:
    suffix = {"float32": "f", "int32": "32"}.get(dtype, "")
    return TEMPLATES.get_template(template).render(
        name=name + suffix,
        real=C_TYPES[dtype],
        integer=C_TYPES[dtype],
        f="f" if dtype == "float32" else "",
        carries=carries,
        lit=lambda value: literal(value, dtype),
    )
