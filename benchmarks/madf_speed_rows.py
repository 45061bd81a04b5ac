"""One measurement of `madf_speed.py`, in a process of its own: reads a job as JSON, prints one line of JSON."""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
OBJECT_SHARE = 0.07
STROKE_SHARE = 0.25


class Job:
    """What to measure, and where the files of this run lie."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.do, self.size = str(settings["do"]), int(settings["size"])
        self.repeats, self.threads = int(settings["repeats"]), int(settings["threads"])
        self.folder, self.settings = Path(settings["folder"]), settings
        self.base = 0.0

    def start(self) -> None:
        """To be called once the libraries are imported: memory counts from here."""
        self.base = peak()

    def result(self, seconds: list[float], **more: Any) -> dict[str, Any]:
        """Median and all times, and the peak of memory since `start`."""
        rounded = [round(value, 4) for value in seconds]
        return {"seconds": statistics.median(rounded), "all": rounded, "mib": round(peak() - self.base), **more}


def peak() -> float:
    """The largest memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def times(call: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds of each of `repeats` calls, after one that is not counted."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def strokes(size: int) -> npt.NDArray[np.bool_]:
    """An irregular hole [size, size] of a quarter of the picture: thick random strokes."""
    import cv2

    rng, hole = np.random.default_rng(0), np.zeros((size, size), np.uint8)
    while hole.mean() < STROKE_SHARE:
        ends = rng.integers(0, size, (2, 2))
        cv2.line(hole, ends[0].tolist(), ends[1].tolist(), 1, max(1, size // 40))
    return hole.astype(bool)


def thing(size: int) -> npt.NDArray[np.bool_]:
    """One hole [size, size] of 7% of the picture: an ellipse that stands a little off the middle."""
    import cv2

    hole = np.zeros((size, size), np.uint8)
    radius = size * (OBJECT_SHARE / np.pi) ** 0.5
    cv2.ellipse(
        hole, (round(0.45 * size), round(0.55 * size)), (round(radius / 1.3), round(radius * 1.3)), 0, 0, 360, 1, -1
    )
    return hole.astype(bool)


def inputs(job: Job, hole: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """A smooth random picture [1, 3, H, W] in normalised space, 0 in the hole, and the mask [1, 1, H, W], 1 = keep."""
    import cv2

    coarse = np.random.default_rng(1).standard_normal((job.size // 8, job.size // 8, 3)).astype(np.float32)
    picture = cv2.resize(coarse, (job.size, job.size), interpolation=cv2.INTER_CUBIC)
    keep = np.asarray(~hole, np.float32)
    return np.ascontiguousarray((picture * keep[..., None]).transpose(2, 0, 1))[None], keep[None, None]


def box_of(hole: npt.NDArray[np.bool_]) -> list[int]:
    """(y0, x0, y1, x1) around a hole."""
    rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    return [int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1]


def prepare(job: Job) -> dict[str, Any]:
    """Writes the network's weights and graphs; gives its work and the time it would take at the processor's speed."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from madf_literal import lively_network
    from unsay.models.madf import MADFConfig
    from unsay.training.inpaint_export import export_network

    torch.manual_seed(0)
    network = lively_network(MADFConfig(width=float(job.settings["width"])))
    torch.save(network.state_dict(), job.folder / "weights.pt")
    (job.folder / "width").write_text(str(job.settings["width"]))
    export_network(network, job.folder / "exact.onnx", half=False)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, job.size, job.size), torch.ones(1, 1, job.size, job.size))
    work = counter.get_total_flops() / 1e9
    speed = convolution_speed(job)
    return {"gflop": round(work, 1), "gflop_per_second": round(speed), "seconds": round(work / speed, 3)}


def convolution_speed(job: Job) -> float:
    """GFLOP/s of a 3x3 convolution of 128 channels at 256x256 in ONNX Runtime."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).standard_normal((128, 128, 3, 3)).astype(np.float32)
    shape, kind = [1, 128, 256, 256], TensorProto.FLOAT
    values = [helper.make_tensor_value_info(name, kind, shape) for name in "xy"]
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)
    graph = helper.make_graph([node], "conv", values[:1], values[1:], [numpy_helper.from_array(weight, "w")])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), job.folder / "conv.onnx"
    )
    run, feed = session(job, "conv.onnx"), {"x": np.ones(shape, np.float32)}
    return 2 * 9 * 128 * 128 * 256 * 256 / 1e9 / min(times(lambda: run(feed), max(5, job.repeats)))


def session(job: Job, file: str) -> Callable[[dict[str, Any]], Floats]:
    """A graph opened as the bundles' are: fp32, ONNX Runtime."""
    from unsay.runtime import runtime

    onnxruntime = runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    opened = onnxruntime.InferenceSession(str(job.folder / file), options, providers=["CPUExecutionProvider"])
    return lambda feed: np.asarray(opened.run(None, feed)[0])


def torch_network(job: Job, *, literal: bool) -> Any:
    """The network in torch, with this run's weights mapped from their file."""
    import torch

    from madf_literal import LiteralMADF
    from unsay.models.madf import MADF, MADFConfig

    torch.set_num_threads(job.threads)
    network = (LiteralMADF if literal else MADF)(MADFConfig(width=float((job.folder / "width").read_text())))
    network.load_state_dict(torch.load(job.folder / "weights.pt", weights_only=True, mmap=True), assign=True)
    return network.eval()


def new_network(job: Job, *, literal: bool) -> Any:
    """The network in torch as a training run begins: fresh weights, in its own memory."""
    import torch

    from madf_literal import LiteralMADF
    from unsay.models.madf import MADF, MADFConfig

    torch.set_num_threads(job.threads)
    torch.manual_seed(0)
    return (LiteralMADF if literal else MADF)(MADFConfig(width=float((job.folder / "width").read_text()))).train()


def in_torch(job: Job) -> dict[str, Any]:
    """Inference in torch. The literal form's results are kept for the other rows to be compared with."""
    import torch

    import madf_literal  # noqa: F401 - memory counts from after the imports

    job.start()
    literal = job.do == "literal"
    network, outputs = torch_network(job, literal=literal), {}
    if not literal:
        network = network.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        given = [torch.from_numpy(value) for value in inputs(job, strokes(job.size))]
        outputs["strokes"] = network(*given)[-1].numpy()
        seconds = times(lambda: network(*given), job.repeats)
        result = job.result(seconds)
        if literal:
            outputs["thing"] = network(*(torch.from_numpy(value) for value in inputs(job, thing(job.size))))[-1].numpy()
            np.savez(job.folder / "literal.npz", **outputs)
    return result if literal else result | {"max_difference": difference(job, "strokes", outputs["strokes"])}


def difference(job: Job, name: str, found: Floats) -> float | None:
    """The largest difference to the literal form's result inside the hole; None if that did not run."""
    kept = job.folder / "literal.npz"
    if not kept.exists():
        return None
    hole = strokes(job.size) if name == "strokes" else thing(job.size)
    y0, x0, y1, x1 = box_of(hole)
    wanted = np.load(kept)[name][..., y0:y1, x0:x1]
    if found.shape != wanted.shape:
        found = found[..., y0:y1, x0:x1]
    return float(np.abs(found - wanted)[..., hole[y0:y1, x0:x1]].max())


def in_graph(job: Job) -> dict[str, Any]:
    """Inference as users run it: fp32 in ONNX Runtime, or bf16 in OpenVINO."""
    import cv2  # noqa: F401 - memory counts from after the imports

    from unsay.inpainting.network import Bf16Network, import_openvino
    from unsay.runtime import runtime

    runtime()

    name = "strokes" if job.do.startswith("dense") else "thing"
    hole = strokes(job.size) if name == "strokes" else thing(job.size)
    image, mask = inputs(job, hole)
    feed = {"image": image, "mask": mask, "box": np.array(box_of(hole))}
    if job.do.endswith("bf16"):
        import_openvino()

        job.start()
        network = Bf16Network(job.folder / "exact.onnx", job.threads)

        def run(given: dict[str, Any]) -> Floats:
            return network.run(["fill"], given)[0]
    else:
        job.start()
        run = session(job, "exact.onnx")
    opened = peak() - job.base
    seconds = times(lambda: run(feed), job.repeats)
    more = {} if job.settings.get("alone") else {"max_difference": difference(job, name, run(feed))}
    return job.result(seconds, opened_mib=round(opened), **more)


def training(job: Job) -> dict[str, Any]:
    """One training step, batch 4 at half the side: forward, L1 on every output, backward, and Adam where asked for."""
    import torch
    from torch.utils.checkpoint import checkpoint

    import madf_literal  # noqa: F401 - memory counts from after the imports
    from unsay.models.recompute import recompute_all
    from unsay.training.inpaint_losses import LossWeights, inpainting_loss

    one = torch.ones(1, requires_grad=True)  # what torch imports when these are first used is no memory of the step
    checkpoint(torch.sin, one, use_reentrant=False).backward()
    torch.optim.Adam([one]).step()
    job.start()
    literal = "literal" in job.do
    network = new_network(job, literal=literal)
    recompute_all(network, "less-memory" in job.do)
    truth = torch.randn(4, 3, job.size // 2, job.size // 2)
    hole = strokes(job.size)[: job.size // 2, : job.size // 2]
    mask = torch.from_numpy(np.asarray(~hole, np.float32)).expand(4, 1, -1, -1)
    if not literal:
        network, truth = (
            network.to(memory_format=torch.channels_last),
            truth.contiguous(memory_format=torch.channels_last),
        )
    adam = torch.optim.Adam(network.parameters(), 2e-4, fused=not literal) if job.do.endswith("adam") else None

    def step() -> None:
        losses = inpainting_loss(network(truth, mask), truth, mask, LossWeights(variation=0))
        torch.stack(list(losses.values())).sum().backward()
        if adam is not None:
            adam.step()
        network.zero_grad(set_to_none=True)

    return job.result(times(step, job.repeats))


def precision(job: Job) -> dict[str, Any]:
    """What bf16 costs with trained weights: mean PSNR of the packaged filler's results on photos, in fp32 and bf16."""
    from unsay.bundle import load_bundle
    from unsay.evaluation.metrics import psnr
    from unsay.inpainting.filler import Filler

    exact, reduced = (
        Filler.of(load_bundle("starter", threads=job.threads, precision=precision)) for precision in ("fp32", "bf16")
    )
    side, found = exact.max_side, []
    for path in sorted(Path(job.settings["photos"]).glob("*.jpg"))[:40]:
        photo = middle(path, side)
        for hole in (strokes(side), thing(side)):
            fills = [filler.fill(photo, hole) for filler in (exact, reduced)]
            found.append([psnr(fill, photo, where) for fill in fills for where in (None, hole)])
    if not found:
        sys.exit(f"{job.settings['photos']} holds no .jpg photos")
    whole, inside, whole16, inside16 = np.mean(found, 0).round(4).tolist()
    return {
        "fills": len(found),
        "psnr": {"fp32": whole, "bf16": whole16},
        "hole_psnr": {"fp32": inside, "bf16": inside16},
    }


def middle(path: Path, side: int) -> npt.NDArray[np.uint8]:
    """The middle square of a photo [side, side, 3] RGB, made as large as it must be."""
    import cv2

    photo = cv2.imread(str(path))[..., ::-1]
    scale = side / min(photo.shape[:2])
    photo = cv2.resize(photo, None, fx=max(1, scale), fy=max(1, scale), interpolation=cv2.INTER_AREA)
    y, x = ((length - side) // 2 for length in photo.shape[:2])
    return np.ascontiguousarray(photo[y : y + side, x : x + side])


def main() -> None:
    """Do the job that the command line holds."""
    job = Job(json.loads(sys.argv[1]))
    kinds = {"prepare": prepare, "literal": in_torch, "torch": in_torch, "precision": precision}
    measure = kinds.get(job.do, training if job.do.startswith("train") else in_graph)
    print(json.dumps(measure(job)))


if __name__ == "__main__":
    main()
