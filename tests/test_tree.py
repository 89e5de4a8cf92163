"""Containers taken apart and put together: structure, order, paths, refusals."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import timeit
from collections import OrderedDict, defaultdict, namedtuple
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symgrad import specs, tree
from symgrad.errors import StructureError

Point = namedtuple("Point", "x y")


class Line(NamedTuple):
    start: Point
    end: Point


@dataclasses.dataclass
class Layer:
    weight: Any
    bias: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    a: Any
    b: Any


@dataclasses.dataclass(init=False)
class OwnInit:
    """Its __init__ takes other arguments than its fields."""

    total: Any
    cached: Any = dataclasses.field(init=False)

    def __init__(self, first, second):
        self.total = first + second


@dataclasses.dataclass
class Checking:
    """Its __post_init__ would fail on a tracer or a spec."""

    value: Any

    def __post_init__(self):
        self.value = float(self.value)


@dataclasses.dataclass
class DictWithFields(dict):
    a: int = 0


class MyList(list):
    pass


class MyDict(dict):
    pass


CONTAINERS = [
    (),
    [],
    {},
    None,
    (1.0,),
    [1.0, (2.0, [3.0]), {}],
    {"b": 1.0, "a": [2.0, None]},
    {2: 1.0, 1: 2.0, 3.5: 0.0},
    {("a", 1): 1.0, ("b", 0): 2.0},
    OrderedDict(z=1.0, a=2.0),
    defaultdict(list, {"k": [1.0]}),
    Point(1.0, [2.0]),
    Line(Point(0.0, 1.0), Point(2.0, 3.0)),
    Layer(1.0, (2.0, 3.0)),
    Frozen({"x": 1.0}, None),
    ([Layer(1.0)], {"p": Point(2.0, 3.0)}),
]


@pytest.mark.parametrize("value", CONTAINERS, ids=repr)
def test_round_trip(value):
    leaves, treedef = tree.flatten(value)
    again = treedef.unflatten(leaves)
    assert again == value
    assert type(again) is type(value)
    assert treedef.num_leaves == len(leaves) == len(tree.leaf_paths(treedef))
    for copied in (pickle.loads(pickle.dumps(treedef)), copy.deepcopy(treedef)):
        assert copied == treedef and hash(copied) == hash(treedef)
        assert copied.unflatten(leaves) == value


def test_structures_differ_between_all_containers():
    treedefs = [tree.flatten(value)[1] for value in CONTAINERS]
    assert len(set(treedefs)) == len(treedefs)


@given(
    st.recursive(
        st.floats(allow_nan=False) | st.none(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
            | st.tuples(inner, inner)
            | st.builds(Layer, inner, inner)
        ),
    )
)
@pytest.mark.slow
def test_any_tree_comes_back(value):
    leaves, treedef = tree.flatten(value)
    assert treedef.unflatten(leaves) == value
    assert tree.flatten(treedef.unflatten(leaves))[1] == treedef


@pytest.mark.parametrize(
    "leaf",
    [1.0, 2, True, 1j, "text", np.ones(3), np.float64(1), np.int8(1), object(), Layer, {1, 2}]
    + [MyList([1.0]), MyDict(a=1.0), DictWithFields(), specs.f64[3], np.ma.ones(3)],
    ids=lambda leaf: type(leaf).__name__,
)
def test_leaves(leaf):
    for value in (leaf, (leaf,), [1.0, leaf], {"k": leaf}):
        leaves, treedef = tree.flatten(value)
        assert leaves[-1] is leaf
        assert len(leaves) == treedef.num_leaves


def test_dict_order_is_kept_but_does_not_count():
    first, second = {"a": 1.0, "b": 2.0}, {"b": 2.0, "a": 1.0}
    (leaves1, tree1), (leaves2, tree2) = tree.flatten(first), tree.flatten(second)
    assert leaves1 == leaves2 == [1.0, 2.0]
    assert tree1 == tree2 and hash(tree1) == hash(tree2)
    assert list(tree1.unflatten(leaves1)) == ["a", "b"]
    assert list(tree2.unflatten(leaves2)) == ["b", "a"]
    assert tree.leaf_paths(tree1) == tree.leaf_paths(tree2) == ['x["a"]', 'x["b"]']


@pytest.mark.parametrize(
    "keys",
    [(1, "a", 2.5), (frozenset({1}), frozenset({2}), frozenset({1, 2})), (None, ("a",), (1,))]
    + [(("a", 1), (1, "a")), (10, 9, True), (b"b", b"a")],
    ids=repr,
)
def test_keys_of_any_type_do_not_depend_on_insertion_order(keys):
    forward = {key: float(index) for index, key in enumerate(keys)}
    backward = dict(reversed(forward.items()))
    assert tree.flatten(forward) == tree.flatten(backward)


def test_defaultdict_keeps_its_factory():
    leaves, treedef = tree.flatten(defaultdict(int, a=1.0))
    assert treedef.unflatten(leaves)["missing"] == 0
    assert treedef != tree.flatten(defaultdict(list, a=1.0))[1]


def test_dataclass_is_rebuilt_without_its_init():
    leaves, treedef = tree.flatten(OwnInit(1.0, 2.0))
    assert leaves == [3.0]  # `cached` was never set
    again = treedef.unflatten(["tracer"])
    assert again.total == "tracer" and not hasattr(again, "cached")
    value = OwnInit(1.0, 2.0)
    value.cached = 5.0
    assert tree.map(lambda leaf: -leaf, value).cached == -5.0
    assert tree.flatten(Checking(1))[1].unflatten(["tracer"]).value == "tracer"


def test_is_leaf():
    value = {"a": (1.0, 2.0), "b": [(3.0, None)]}
    leaves, treedef = tree.flatten(value, is_leaf=lambda item: isinstance(item, tuple))
    assert leaves == [(1.0, 2.0), (3.0, None)]
    assert treedef.unflatten("pq") == {"a": "p", "b": ["q"]}
    assert tree.flatten(None, is_leaf=lambda item: item is None)[0] == [None]
    assert tree.flatten((1.0, 2.0), is_leaf=lambda item: True)[0] == [(1.0, 2.0)]


def test_paths():
    value = ({"w": [Layer(1.0, 2.0), None]}, Point(3.0, (4.0,)), {1: 5.0, 'q"': 6.0})
    assert tree.leaf_paths(tree.flatten(value)[1], "params") == [
        'params[0]["w"][0].weight',
        'params[0]["w"][0].bias',
        "params[1].x",
        "params[1].y[0]",
        "params[2][1]",
        r'params[2]["q\""]',
    ]
    assert tree.leaf_paths(tree.flatten(1.0)[1], "alpha") == ["alpha"]


def test_text():
    value = ({"b": 1.0, "a": (2.0,)}, [Point(3.0, None)], Layer(4.0), OrderedDict(k=5.0))
    assert str(tree.flatten(value)[1]) == (
        "({'b': *, 'a': (*,)}, [Point(x=*, y=None)], Layer(weight=*, bias=None), "
        "OrderedDict({'k': *}))"
    )


def nested(depth):
    value = 1.0
    for _ in range(depth):
        value = [value]
    return value


def test_deep_but_allowed():
    leaves, treedef = tree.flatten(nested(1000))
    assert leaves == [1.0]
    assert hash(treedef) == hash(pickle.loads(pickle.dumps(treedef)))
    assert str(treedef).count("[") == 1000
    assert tree.leaf_paths(treedef)[0].count("[0]") == 1000
    assert tree.flatten(treedef.unflatten(leaves))[1] == treedef


def test_too_deep():
    with pytest.raises(StructureError, match="nested more than 1000 deep"):
        tree.flatten(nested(1001))


def list_cycle():
    value = [1.0, ()]
    value += [{"back": value}, value]
    return value


def dataclass_cycle():
    value = Layer(1.0)
    value.bias = ([], value)
    return value


@pytest.mark.parametrize("make", [list_cycle, dataclass_cycle])
def test_cycle(make):
    with pytest.raises(StructureError, match="contains itself"):
        tree.flatten(make())


def test_the_same_container_twice_is_no_cycle():
    shared = [1.0]
    assert tree.flatten((shared, shared))[0] == [1.0, 1.0]


def test_refusals():
    treedef = tree.flatten((1.0, 2.0))[1]
    for leaves in ([], [1.0], [1.0, 2.0, 3.0]):
        with pytest.raises(StructureError, match=r"structure of 2: \(\*, \*\)"):
            treedef.unflatten(leaves)
    with pytest.raises(StructureError, match="differ"):
        tree.map(max, (1.0, 2.0), [1.0, 2.0])
    with pytest.raises(AttributeError, match="immutable"):
        treedef.num_leaves = 3


def test_map():
    assert tree.map(lambda x, y: x + y, {"a": 1.0, "b": (2.0,)}, {"b": (20.0,), "a": 10.0}) == {
        "a": 11.0,
        "b": (22.0,),
    }


def test_flat_arguments_are_fast():
    # Measured 0.3 µs; the limit leaves room for a busy machine.
    arguments = (np.ones(3), np.ones(2), np.ones(1))
    best = min(timeit.repeat(lambda: tree.flatten(arguments), number=2000, repeat=20)) / 2000
    assert best < 2e-6
    assert tree.flatten(arguments)[1] is tree.flatten(arguments)[1]
