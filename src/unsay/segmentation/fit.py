"""Whether a bundle's networks read and give what its `segment` part says, told before they are opened."""

from __future__ import annotations

from unsay.bundle import Bundle
from unsay.errors import BundleError
from unsay.onnx_check import Graph, Value
from unsay.segmentation.recipe import Recipe

FLOAT, INT64 = "tensor(float)", "tensor(int64)"
Shape = tuple[int | None, ...]


def check_networks(bundle: Bundle, recipe: Recipe) -> bool:
    """True, or `BundleError`: features and encoder, alone and with each other."""
    features = bundle.graph(recipe.features.file)
    where = f"{recipe.features.file} of the bundle {bundle.name!r}"
    _reads(features, {"pixels": Value(FLOAT, (1, 3, None, None))}, where)
    used = dict.fromkeys([*recipe.grouping.maps, *recipe.encoder.maps])
    _gives(features, {name: Value(FLOAT, (1, None, None, None)) for name in used}, where)
    encoder = bundle.graph(recipe.encoder.file)
    where = f"{recipe.encoder.file} of the bundle {bundle.name!r}"
    maps = {name: Value(FLOAT, (1, _channels(features, name), None, None)) for name in recipe.encoder.maps}
    pixels = {} if maps else {"pixels": Value(FLOAT, (1, 3, None, None))}
    _reads(encoder, {**maps, **pixels, "coverage": Value(FLOAT, (None, None))}, where)
    _gives(encoder, {"embeddings": Value(FLOAT, (None, None))}, where)
    return True


def check_text(bundle: Bundle, recipe: Recipe) -> bool:
    """True, or `BundleError`: the sentence encoder."""
    where = f"{recipe.text.file} of the bundle {bundle.name!r}"
    graph = bundle.graph(recipe.text.file)
    _reads(graph, {name: Value(INT64, (None, None)) for name in ("ids", "mask")}, where)
    _gives(graph, {"embedding": Value(FLOAT, (None, None))}, where)
    return True


def _reads(graph: Graph, wanted: dict[str, Value], where: str) -> None:
    """The graph reads exactly these, and a length that will vary is none that it fixes."""
    if set(graph.inputs) != set(wanted):
        raise BundleError(
            f"{where} reads {sorted(graph.inputs)}; its manifest says {sorted(wanted)}: export or import it again"
        )
    for name, value in wanted.items():
        stated = graph.inputs[name]
        fixed = stated.shape is not None and not all(
            s is None or s == w or (w is None and axis == 1 and len(stated.shape) == 4)
            for axis, (s, w) in enumerate(zip(stated.shape, value.shape or (), strict=False))
        )
        _check(name, stated, value, fixed=fixed, where=f"{where} reads")


def _gives(graph: Graph, wanted: dict[str, Value], where: str) -> None:
    """The graph gives at least these."""
    missing = sorted(set(wanted) - set(graph.outputs))
    if missing:
        raise BundleError(
            f"{where} gives {sorted(graph.outputs)}; its manifest needs {missing[0]!r}: export or import it again"
        )
    for name, value in wanted.items():
        _check(name, graph.outputs[name], value, fixed=False, where=f"{where} gives")


def _check(name: str, stated: Value, wanted: Value, *, fixed: bool, where: str) -> None:
    sizes = stated.shape
    other = sizes is not None and len(sizes) != len(wanted.shape or ())
    if stated.kind != wanted.kind or fixed or other:
        raise BundleError(
            f"{where} {name!r} as {_told(stated)}; expected {_told(wanted)}: export or import the bundle again"
        )


def _channels(graph: Graph, name: str) -> int | None:
    shape = graph.outputs[name].shape
    return shape[1] if shape is not None and len(shape) == 4 else None


def _told(value: Value) -> str:
    shape = "of any shape" if value.shape is None else str(["free" if n is None else n for n in value.shape])
    return f"{value.kind.removeprefix('tensor(').removesuffix(')')} {shape}"
