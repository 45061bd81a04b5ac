"""Graphs that must not be opened, each a real file that onnx wrote or that the format allows, and those that may be."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tests.conftest import averaging_network

from unsay import protobuf
from unsay.bundle import packaged_bundles
from unsay.errors import BundleError
from unsay.onnx_check import DEPTH, Graph, Value, check_graph
from unsay.protobuf import Layout, Malformed, Reader, key

Change = Callable[[onnx.ModelProto], Any]
FLOAT = TensorProto.FLOAT
node, info = helper.make_node, helper.make_tensor_value_info


def check(model: onnx.ModelProto | bytes, name: str = "net.onnx") -> Graph:
    return check_graph(Path(name), model if isinstance(model, bytes) else model.SerializeToString())


def test_what_a_graph_reads_and_gives() -> None:
    graph = check(averaging_network())
    side = (None, None)
    assert graph.inputs == {
        "image": Value("tensor(float)", (1, 3, *side)),
        "mask": Value("tensor(float)", (1, 1, *side)),
    }
    assert graph.outputs == {"fill": Value("tensor(float)", (1, 3, *side))}


def test_a_weight_that_is_listed_as_input_is_not_fed() -> None:
    model = averaging_network()
    model.graph.input.append(info("half", FLOAT, []))
    assert set(check(model).inputs) == {"image", "mask"}


@pytest.mark.parametrize("kind", ["float32", "float16", "float64", "int8", "uint8", "int32", "int64", "bool", "uint64"])
@pytest.mark.parametrize("raw", [True, False])
def test_numbers_may_be_stored_in_every_way(kind: str, raw: bool) -> None:
    values = np.arange(12).reshape(3, 4).astype(kind)
    tensor = numpy_helper.from_array(values, "w")
    if not raw:
        flat = values.view(np.uint16) if kind == "float16" else values
        tensor = helper.make_tensor("w", tensor.data_type, values.shape, flat.ravel().tolist())
        assert not tensor.raw_data
    model = averaging_network()
    model.graph.initializer.append(tensor)
    assert check(model) == check(averaging_network())


def nested(depth: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        inner = helper.make_graph([node("Identity", ["image"], ["x"])], "leaf", [], [info("x", FLOAT, None)])
        for _ in range(depth):
            choose = node("If", ["c"], ["x"], then_branch=inner, else_branch=inner)
            inner = helper.make_graph([choose], "branch", [], [info("x", FLOAT, None)])
        model.graph.node.extend(inner.node)

    return change


def within(content: onnx.NodeProto) -> Change:
    """The node inside a branch, which is as much part of the network."""

    def change(model: onnx.ModelProto) -> None:
        branch = helper.make_graph([content], "b", [], [info("x", FLOAT, None)])
        model.graph.node.append(node("If", ["c"], ["x"], then_branch=branch, else_branch=branch))

    return change


def adding(**parts: Any) -> Change:
    return lambda model: [getattr(model.graph, name).extend([part]) for name, part in parts.items()]


def outside(location: str, *, marked: bool = True) -> onnx.TensorProto:
    tensor = TensorProto(name="w", dims=[4], data_type=FLOAT)
    tensor.external_data.add(key="location", value=location)
    if marked:
        tensor.data_location = TensorProto.EXTERNAL
    return tensor


def looping(operator: str) -> onnx.NodeProto:
    body = helper.make_graph(
        [node("Identity", ["i"], ["o"])], "body", [info("i", FLOAT, None)], [info("o", FLOAT, None)]
    )
    return node(operator, ["n", "c"], ["x"], body=body)


def function(model: onnx.ModelProto) -> None:
    imports = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("", "Mine", ["a"], ["b"], [node("Identity", ["a"], ["b"])], imports))


def tensor(shape: list[int], raw: bytes | None = None, kind: int = FLOAT, **numbers: Any) -> onnx.TensorProto:
    made = TensorProto(name="w", dims=shape, data_type=kind, **numbers)
    if raw is not None:
        made.raw_data = raw
    return made


SPARSE = onnx.SparseTensorProto(dims=[1 << 40], values=tensor([1], b"\0\0\0\0"), indices=tensor([1], b"\0" * 8, 7))
HOSTILE: dict[str, tuple[Change, str]] = {
    "weights outside the folder": (adding(initializer=outside("/etc/passwd")), "lies in another file"),
    "weights beside the file": (adding(initializer=outside("net.data")), "lies in another file"),
    "weights outside, not marked so": (adding(initializer=outside("../x", marked=False)), "lies in another file"),
    "weights outside, in an attribute": (
        adding(node=node("Constant", [], ["x"], value=outside("/etc/passwd"))),
        "lies in another file",
    ),
    "weights outside, in a branch": (within(node("Constant", [], ["x"], value=outside("x"))), "lies in another file"),
    "an operator of somebody's own": (adding(node=node("Run", ["image"], ["x"], domain="evil")), "domain 'evil'"),
    "one that opens files": (
        adding(node=node("EPContext", [], ["x"], domain="com.microsoft")),
        "domain 'com.microsoft'; only ONNX's own",
    ),
    "one in a branch": (within(node("Run", [], ["x"], domain="evil")), "domain 'evil'"),
    "Loop": (adding(node=looping("Loop")), "operator Loop; no loops are run"),
    "Scan": (adding(node=looping("Scan")), "operator Scan; no loops"),
    "SequenceMap": (adding(node=looping("SequenceMap")), "operator SequenceMap; no loops"),
    "Loop in a branch": (within(looping("Loop")), "operator Loop; no loops"),
    "functions": (function, "functions of its own: inline them"),
    "branches in branches": (nested(DEPTH + 2), f"nested deeper than {DEPTH}"),
    "sparse weights": (adding(sparse_initializer=SPARSE), "sparse tensor"),
    "a sparse attribute": (adding(node=node("Constant", [], ["x"], sparse_value=SPARSE)), "sparse tensor"),
    "a tensor larger than the file": (adding(initializer=tensor([1 << 20, 1 << 15], b"")), "needs 137438953472 bytes"),
    "a product that would overflow": (
        adding(initializer=tensor([1 << 39] * 16, b"")),
        "needs .* bytes; the file holds 0",
    ),
    "no numbers at all": (adding(initializer=tensor([1000])), "needs 1000 numbers; the file holds 0"),
    "too few numbers": (adding(initializer=tensor([3], float_data=[1, 2])), "needs 3 numbers; the file holds 2"),
    "numbers twice": (
        adding(initializer=tensor([1], b"\0" * 4, float_data=[1])),
        "needs 4 bytes; the file holds 4 of it",
    ),
    "more bytes than the shape": (adding(initializer=tensor([1], b"\0" * 8)), "needs 4 bytes; the file holds 8"),
    "a negative length": (adding(initializer=tensor([-1], b"")), r"shape \[-1\]"),
    "many axes": (adding(initializer=tensor([1] * 17, b"\0" * 4)), "at most 16 lengths"),
    "an unknown number type": (adding(initializer=tensor([1], b"\0", 99)), "number type 99"),
    "text as weights": (adding(initializer=tensor([1], kind=8, string_data=[b"x"])), "holds text"),
    "a sequence as input": (
        adding(input=helper.make_tensor_sequence_value_info("s", FLOAT, None)),
        "'s', which is not a tensor",
    ),
    "an input without a type": (adding(input=onnx.ValueInfoProto(name="s")), "'s', which is not a tensor"),
    "a negative declared length": (adding(input=info("s", FLOAT, [-5])), "declares a length of -5"),
    "no graph": (lambda model: model.ClearField("graph"), "holds no graph"),
    "a training step": (lambda model: model.training_info.add(), "training step"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_graph_that_must_not_be_opened(case: str) -> None:
    change, message = HOSTILE[case]
    model = averaging_network()
    change(model)
    with pytest.raises(
        BundleError, match=f"^net.onnx is not a network that Unsay opens: .*{message}.*import it again$"
    ):
        check(model)


def test_branches_may_be_nested_a_little() -> None:
    model = averaging_network()
    nested(DEPTH)(model)
    assert check(model) == check(averaging_network())


def test_a_part_that_is_given_twice_is_checked_twice() -> None:
    """protobuf joins messages that come in pieces: a second graph adds its nodes to the first's."""
    second = onnx.ModelProto()
    second.graph.node.append(looping("Loop"))
    with pytest.raises(BundleError, match="operator Loop"):
        check(averaging_network().SerializeToString() + second.SerializeToString())


def test_an_attribute_of_two_values_is_refused() -> None:
    """protobuf makes one tensor of the two: their shapes one after the other, which agree with no numbers."""
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "t")
    part = onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR, t=tensor).SerializeToString()
    second = onnx.AttributeProto(t=tensor).SerializeToString()
    assert list(onnx.AttributeProto.FromString(part + second).t.dims) == [4, 4]
    attribute = b"\x2a" + bytes([len(part + second)]) + part + second
    constant = node("Constant", [], ["x"]).SerializeToString() + attribute
    graph = b"\x0a" + bytes([len(constant)]) + constant
    with pytest.raises(BundleError, match="two values"):
        check(b"\x3a" + bytes([len(graph)]) + graph)


def test_a_key_written_longer_than_it_need_be_hides_nothing() -> None:
    """Parsers take 0xba 0x80 0x00 for 0x3a, a node's domain."""
    plain = node("Run", [], ["x"], domain="evil").SerializeToString()
    assert b"\x3a\x04evil" in plain
    long = plain.replace(b"\x3a\x04evil", b"\xba\x80\x00\x04evil")
    assert onnx.NodeProto.FromString(long).domain == "evil"
    graph = b"\x0a" + bytes([len(long)]) + long
    with pytest.raises(BundleError, match="domain 'evil'"):
        check(b"\x3a" + bytes([len(graph)]) + graph)


@pytest.mark.parametrize("name", ["net.ort", "net.xml", "net", "net.onnx.part"])
def test_another_suffix_is_another_format(name: str) -> None:
    with pytest.raises(BundleError, match=r"its name does not end in \.onnx"):
        check(averaging_network(), name)


def test_a_file_that_is_cut_short_anywhere() -> None:
    whole = averaging_network().SerializeToString()
    for stop in range(0, len(whole), 7):
        with pytest.raises(BundleError):
            check(whole[:stop])


@given(st.binary(max_size=200))
def test_bytes_that_are_anything(content: bytes) -> None:
    with contextlib.suppress(BundleError):
        check(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x3a\xff\xff\xff\xff\x7f", "cut short"),
        (b"\x3a", "cut short"),
        (b"\x80" * 11, "does not end"),
        (b"\x3b\x3c", "kind 3, which no graph has"),
        (b"\x38\x01", "field 7 is of kind 0"),
        (b"\x02\x00", "a field numbered 0"),
    ],
)
def test_bytes_that_are_no_message(content: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        check(content)


def test_the_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protobuf, "MOST_FIELDS", 1000)
    with pytest.raises(BundleError, match="more than 1000 fields"):
        check(b"\x08\x01" * 2000)
    assert len(Reader(b"\x08\x01" * 900).fields(0, 1800, Layout([key(1, 0)]))) == 900


@given(st.lists(st.tuples(st.integers(1, 200), st.one_of(st.integers(0, 2**63 - 1), st.binary(max_size=300)))))
def test_fields_are_found_where_they_are(fields: list[tuple[int, int | bytes]]) -> None:
    """Whatever is wanted: quick and slow ways give the same."""
    data, expected = b"", []
    for number, value in fields:
        wire = 0 if isinstance(value, int) else 2
        data += varint(number << 3 | wire)
        if isinstance(value, int):
            data += varint(value)
            expected.append((number, value))
        else:
            data += varint(len(value)) + value
            expected.append((number, value))
    for wanted in ({n for n, _ in fields[::2]}, set(range(1, 201)), set()):
        try:
            found = Reader(data).fields(0, len(data), Layout(key(n, w) for n in wanted for w in (0, 2)))
        except Malformed as error:
            pytest.fail(str(error))
        values = [(k >> 3, start if k & 7 == 0 else data[start:stop]) for k, start, stop in found]
        assert values == [(n, v) for n, v in expected if n in wanted]


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def test_the_packaged_networks_pass_quickly() -> None:
    """About 13 ms of processor time in all on the machine where it was written; the limit leaves room for slow ones."""
    from unsay.bundle import load_bundle

    paths = [p for name in packaged_bundles() for p in load_bundle(name).path.glob("*.onnx")]
    contents = [(path, path.read_bytes()) for path in paths]
    assert len(contents) == 4
    taken = []
    for _ in range(5):
        start = time.process_time()
        for path, content in contents:
            check_graph(path, content)
        taken.append(time.process_time() - start)
    assert min(taken) < 0.1
