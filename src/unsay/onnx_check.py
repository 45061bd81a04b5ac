"""What an ONNX file holds, found out before ONNX Runtime opens it: bundles are data, whoever made them.

A graph is refused if it

- reads another file (external data), or names a domain of operators other than ONNX's own. `com.microsoft` is out too:
  its EPContext opens files, and nothing that `unsay export` or `unsay import` writes needs it;
- loops (Loop, Scan, SequenceMap) or defines functions, with which a short file computes for ever or grows without
  bound as it is opened. If, which takes each branch once at most, may be nested `DEPTH` deep;
- has a tensor whose numbers are not all in the file, or more of them than its shape says; has sparse ones, which grow;
- is no well-formed protobuf message, has no graph, or reads or gives anything but tensors.

Field numbers are those of the public onnx.proto. Nothing here imports onnx: the running half does without it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from mmap import mmap
from pathlib import Path

from unsay.errors import BundleError
from unsay.protobuf import BYTES, FIXED32, FIXED64, VARINT, Field, Layout, Malformed, Reader, key

SUFFIX = ".onnx"
"""Other suffixes make runtimes read other formats."""
MOST_BYTES = 1 << 31
"""The size to which protobuf's own limit keeps any ONNX file."""
DOMAINS = frozenset({b"", b"ai.onnx"})
REFUSED = frozenset({b"Loop", b"Scan", b"SequenceMap"})
DEPTH = 4
SPARSE = "it has a sparse tensor, which grows as it is opened; only dense ones are read"
RANK = 16
KINDS = {
    1: ("float", 32), 2: ("uint8", 8), 3: ("int8", 8), 4: ("uint16", 16), 5: ("int16", 16), 6: ("int32", 32),
    7: ("int64", 64), 9: ("bool", 8), 10: ("float16", 16), 11: ("double", 64), 12: ("uint32", 32), 13: ("uint64", 64),
    16: ("bfloat16", 16), 17: ("float8e4m3fn", 8), 18: ("float8e4m3fnuz", 8), 19: ("float8e5m2", 8),
    20: ("float8e5m2fnuz", 8), 21: ("uint4", 4), 22: ("int4", 4),
}  # fmt: skip
"""TensorProto.DataType -> its name as ONNX Runtime says it, bits a number."""


@dataclass(frozen=True)
class Value:
    """One of a graph's inputs or outputs. `kind`: "tensor(float)" and so on; `shape`: None where nothing is said, in it
    None for a length that is free.
    """

    kind: str
    shape: tuple[int | None, ...] | None


@dataclass
class Graph:
    """What a graph reads and gives, by name. `inputs` are those that a caller has to feed."""

    inputs: dict[str, Value] = field(default_factory=dict)
    outputs: dict[str, Value] = field(default_factory=dict)


def check_graph(path: Path, data: bytes | mmap) -> Graph:
    """The graph of a file that may be opened, whose content is `data`. Raises `BundleError` for any other, as the
    module's page says.
    """
    try:
        if path.suffix != SUFFIX:
            raise Malformed(f"its name does not end in {SUFFIX}")
        if len(data) > MOST_BYTES:
            raise Malformed(f"it has {len(data)} bytes; an ONNX file has at most {MOST_BYTES}")
        return _Checker(Reader(data)).model()
    except Malformed as error:
        raise BundleError(f"{path} is not a network that Unsay opens: {error}; export or import it again") from error


MODEL_GRAPH, MODEL_TRAINING, MODEL_FUNCTION = key(7), key(20), key(25)
MODEL = Layout([MODEL_GRAPH, MODEL_TRAINING, MODEL_FUNCTION])
GRAPH_NODE, GRAPH_TENSOR, GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_SPARSE = key(1), key(5), key(11), key(12), key(15)
GRAPH = Layout([GRAPH_NODE, GRAPH_TENSOR, GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_SPARSE])
NODE_OPERATOR, NODE_ATTRIBUTE, NODE_DOMAIN = key(4), key(5), key(7)
NODE = Layout([NODE_OPERATOR, NODE_ATTRIBUTE, NODE_DOMAIN])
ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS, ATTRIBUTE_SPARSE = (key(5), key(10)), (key(6), key(11)), (key(22), key(23))
ATTRIBUTE_SINGLE = {key(5), key(6)}
ATTRIBUTE = Layout([*ATTRIBUTE_TENSORS, *ATTRIBUTE_GRAPHS, *ATTRIBUTE_SPARSE])
TENSOR_TYPE, TENSOR_NAME, TENSOR_RAW, TENSOR_TEXT = key(2, VARINT), key(8), key(9), key(6)
TENSOR_OUTSIDE, TENSOR_PLACE = key(13), key(14, VARINT)
TENSOR_SHAPE = (key(1), key(1, VARINT))
TENSOR_NUMBERS = {
    **{key(4): 4, key(4, FIXED32): 4, key(10): 8, key(10, FIXED64): 8},
    **{key(n, wire): 0 for n in (5, 7, 11) for wire in (BYTES, VARINT)},
}
"""Keys of the lists of numbers -> bytes a number; 0: varints."""
TENSOR = Layout(
    [TENSOR_TYPE, TENSOR_NAME, TENSOR_RAW, TENSOR_TEXT, TENSOR_OUTSIDE, TENSOR_PLACE, *TENSOR_SHAPE, *TENSOR_NUMBERS]
)
VALUE_NAME, VALUE_TYPE = key(1), key(2)
VALUE = Layout([VALUE_NAME, VALUE_TYPE])
TYPE_TENSOR = key(1)
TYPE = Layout([TYPE_TENSOR, key(4), key(5), key(8), key(9)])
DENSE_TYPE, DENSE_SHAPE = key(1, VARINT), key(2)
DENSE = Layout([DENSE_TYPE, DENSE_SHAPE])
SHAPE = Layout([key(1)])
LENGTH = Layout([key(1, VARINT)])


class _Checker:
    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def model(self) -> Graph:
        graph, seen = Graph(), False
        for kind, start, stop in self.reader.fields(0, len(self.reader.data), MODEL):
            if kind == MODEL_FUNCTION:
                raise Malformed("it defines functions of its own: inline them (onnx.inliner)")
            if kind == MODEL_TRAINING:
                raise Malformed("it holds a training step, not a network alone")
            self.graph(start, stop, 0, graph)
            seen = True
        if not seen:
            raise Malformed("it holds no graph")
        return graph

    def graph(self, start: int, stop: int, depth: int, into: Graph) -> None:
        """All nodes, tensors and nested graphs; what it reads and gives goes into `into`."""
        if depth > DEPTH:
            raise Malformed(f"its graphs are nested deeper than {DEPTH}")
        stored = set()
        for part in self.reader.fields(start, stop, GRAPH):
            kind = part[0]
            if kind == GRAPH_NODE:
                self.node(part, depth)
            elif kind == GRAPH_TENSOR:
                stored.add(self.tensor(part))
            elif kind == GRAPH_SPARSE:
                raise Malformed(SPARSE)
            elif not depth:
                name, value = self.value(part)
                (into.inputs if kind == GRAPH_INPUT else into.outputs)[name] = value
        for name in stored:
            into.inputs.pop(name, None)

    def node(self, part: Field, depth: int) -> None:
        data = self.reader.data
        for item in self.reader.fields(part[1], part[2], NODE):
            if item[0] == NODE_ATTRIBUTE:
                self.attribute(item, depth)
                continue
            name = data[item[1] : item[2]]
            if item[0] == NODE_OPERATOR and name in REFUSED:
                raise Malformed(f"it has the operator {name.decode()}; no loops are run: export it without")
            if item[0] == NODE_DOMAIN and name not in DOMAINS:
                raise Malformed(f"it has an operator of the domain {_shown(name)}; only ONNX's own are run")

    def attribute(self, part: Field, depth: int) -> None:
        seen = set()
        for item in self.reader.fields(part[1], part[2], ATTRIBUTE):
            if item[0] in seen:  # readers of protobuf make one of the two, which nobody here has looked at
                raise Malformed("it has an attribute with two values")
            seen.update({item[0]} & ATTRIBUTE_SINGLE)
            if item[0] in ATTRIBUTE_TENSORS:
                self.tensor(item)
            elif item[0] in ATTRIBUTE_GRAPHS:
                self.graph(item[1], item[2], depth + 1, Graph())
            else:
                raise Malformed(SPARSE)

    def tensor(self, part: Field) -> str:
        """Check one tensor, return its name."""
        reader, name, code, raw, numbers = self.reader, "", 0, -1, 0
        shape: list[int] = []
        for item in reader.fields(part[1], part[2], TENSOR):
            kind = item[0]
            if kind in TENSOR_SHAPE:
                shape += reader.integers(item)
            elif kind == TENSOR_TYPE:
                code = item[1]
            elif kind == TENSOR_NAME:
                name = reader.text(item)
            elif kind == TENSOR_RAW:
                raw = item[2] - item[1]
            elif kind in TENSOR_NUMBERS:
                numbers += reader.count(item, TENSOR_NUMBERS[kind])
            elif kind == TENSOR_TEXT:
                raise Malformed(f"the tensor {name[:80]!r} holds text; networks read numbers")
            elif kind == TENSOR_OUTSIDE or item[1] != 0:
                raise Malformed(f"the tensor {name[:80]!r} lies in another file; all weights must lie in this one")
        _agree(name, code, shape, raw, numbers)
        return name

    def value(self, part: Field) -> tuple[str, Value]:
        """ValueInfoProto -> name, type and shape."""
        name, value = "", None
        for item in self.reader.fields(part[1], part[2], VALUE):
            if item[0] == VALUE_NAME:
                name = self.reader.text(item)
            elif value is not None:
                raise Malformed(f"it gives {name[:80]!r} two types")
            else:
                value = self.type(item)
        if value is None:
            raise Malformed(f"it reads or gives {name[:80]!r}, which is not a tensor of numbers")
        return name, value

    def type(self, part: Field) -> Value | None:
        """TypeProto -> the tensor's type; None for anything else."""
        code, shape = 0, None
        for kind, start, stop in self.reader.fields(part[1], part[2], TYPE):
            if kind != TYPE_TENSOR or code or shape is not None:
                return None
            for item in self.reader.fields(start, stop, DENSE):
                if item[0] == DENSE_TYPE:
                    code = item[1]
                else:
                    shape = tuple(self.length(one) for one in self.reader.fields(item[1], item[2], SHAPE))
        return Value(f"tensor({KINDS[code][0]})", shape) if code in KINDS else None

    def length(self, part: Field) -> int | None:
        """Dimension -> its length, None where it is free."""
        lengths = [n for item in self.reader.fields(part[1], part[2], LENGTH) for n in self.reader.integers(item)]
        if any(length < 0 for length in lengths):
            raise Malformed(f"it declares a length of {min(lengths)}")
        return lengths[-1] or None if lengths else None


def _agree(name: str, code: int, shape: list[int], raw: int, numbers: int) -> None:
    """Raises `Malformed` unless a tensor's numbers are all there and no more."""
    if code not in KINDS:
        raise Malformed(f"the tensor {name[:80]!r} is of number type {code}; known: 1 to 22 without text and complex")
    if len(shape) > RANK or any(not 0 <= length < 1 << 40 for length in shape):
        raise Malformed(f"the tensor {name[:80]!r} has the shape {shape[:RANK]}; at most {RANK} lengths from 0 up")
    kind, bits = KINDS[code]
    count = prod(shape)
    needed = (count * bits + 7) // 8
    if raw >= 0 and (numbers or raw != needed):
        raise Malformed(f"the tensor {name[:80]!r}, {kind} {shape}, needs {needed} bytes; the file holds {raw} of it")
    packed = (count + 1) // 2 if bits == 4 else count
    if raw < 0 and numbers != packed:
        raise Malformed(f"the tensor {name[:80]!r}, {kind} {shape}, needs {packed} numbers; the file holds {numbers}")


def _shown(name: bytes) -> str:
    return repr(name[:80].decode(errors="replace"))
