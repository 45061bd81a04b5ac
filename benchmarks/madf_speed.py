"""The speed table of the inpainting network: every way it runs beside the literal form, in one run on two threads.

    python benchmarks/madf_speed.py [--width 1.0] [--size 512] [--repeats 5] [--rows NAME...]
                                    [--sizes 256 512 1024 2048] [--photos DIR] [-o FILE.json]

A quick look: `--width 0.25 --size 256`. Every row runs in a process of its own: time is the median, memory the peak
above that of the same process with its libraries imported. Weights are random (`madf_literal.lively_network`), the same
in every row of inference. What a row's result is compared with is the literal form's, inside the hole. Seconds at the
floor: the network's floating-point operations at the speed of one large 3x3 convolution in ONNX Runtime in this run.
The reduced precision's loss is judged with trained weights (the packaged starter's) on the photos in `--photos`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROWS = {
    "literal": "literal form, 25% strokes",
    "torch": "torch, 25% strokes",
    "dense": "ONNX Runtime fp32, 25% strokes",
    "object": "ONNX Runtime fp32, one object of 7%",
    "dense-bf16": "OpenVINO bf16, 25% strokes",
    "object-bf16": "OpenVINO bf16, one object of 7%",
    "train-literal": "literal form, training step",
    "train": "torch, training step",
    "train-less-memory": "torch, training step, recomputing",
    "train-literal-adam": "literal form, training step with Adam",
    "train-adam": "torch, training step with Adam",
    "train-less-memory-adam": "torch, training step, recomputing, Adam",
}
"""Names of the rows and what they are; the rows before `train` are inference at batch 1."""
YARDSTICK = {
    name: "train-literal" + "-adam" * name.endswith("adam") if name.startswith("train") else "literal" for name in ROWS
}
"""The row of the literal form that each is a share of."""


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, default=1.0, help="factor on the paper's channels")
    parser.add_argument("--size", type=int, default=512, help="side of the picture; training uses half of it, batch 4")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=list(ROWS))
    parser.add_argument("--sizes", nargs="*", type=int, default=[256, 512, 1024, 2048], help="sides of the dense graph")
    parser.add_argument("--photos", type=Path, help="folder of photos for the loss by reduced precision")
    parser.add_argument("-o", "--out", type=Path, help="where the table is written as JSON")
    return parser.parse_args()


def measured(job: dict[str, Any]) -> dict[str, Any]:
    """One job of `madf_speed_rows` in a process of its own; what it printed, or why there is nothing."""
    command = [sys.executable, str(Path(__file__).with_name("madf_speed_rows.py")), json.dumps(job)]
    threads = {name: str(job["threads"]) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | threads, check=False)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}"}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def with_ratios(rows: dict[str, dict[str, Any]], floor: dict[str, Any]) -> None:
    """Add each row's share of the literal form's time and memory, and its time over the floor's."""
    for name, row in rows.items():
        of = rows.get(YARDSTICK[name], {})
        for key in ("seconds", "mib"):
            if key in row and key in of:
                row[f"{key}_share"] = round(row[key] / of[key], 4)
        if "seconds" in row and not name.startswith("train"):
            row["over_floor"] = round(row["seconds"] / floor["seconds"], 2)


def shown(rows: dict[str, dict[str, Any]]) -> str:
    """The rows as a table; shares as 1/n."""
    lines = [f"{'':44}{'seconds':>9}{'of lit.':>9}{'MiB':>7}{'of lit.':>9}{'floors':>8}{'max diff':>10}"]
    for name, row in rows.items():
        if "failed" in row:
            lines.append(f"{ROWS[name]:44}  {row['failed']}")
            continue
        shares = [f"1/{1 / row[k]:.1f}" if k in row else "" for k in ("seconds_share", "mib_share")]
        rest = [f"{row[k]:.2g}" if k in row else "" for k in ("over_floor", "max_difference")]
        lines.append(
            f"{ROWS[name]:44}{row['seconds']:9.3f}{shares[0]:>9}{row['mib']:7.0f}{shares[1]:>9}{rest[0]:>8}{rest[1]:>10}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    args = parsed()
    with tempfile.TemporaryDirectory() as folder:
        common = {"folder": folder, "size": args.size, "repeats": args.repeats, "threads": args.threads}
        floor = measured(common | {"do": "prepare", "width": args.width})
        if "failed" in floor:
            sys.exit(f"the network could not be prepared: {floor['failed']}")
        rows: dict[str, dict[str, Any]] = {}
        for name in args.rows:
            rows[name] = measured(common | {"do": name})
            with_ratios({name: rows[name]} | rows, floor)
            print(shown({name: rows[name]}).splitlines()[-1], flush=True)
        print("\n" + shown(rows))
        table = {"width": args.width, **common, "floor": floor, "rows": rows}
        table["sizes"] = {
            str(size): measured(common | {"do": "dense", "size": size, "alone": True}) for size in args.sizes
        }
        if args.photos:
            table["precision"] = measured(common | {"do": "precision", "photos": str(args.photos)})
    table |= {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    del table["folder"]
    print(json.dumps({key: table[key] for key in table if key != "rows"}, indent=1))
    if args.out:
        args.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
