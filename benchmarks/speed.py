"""How long a user waits: cold command, warm call, import; and how much memory. Prints one JSON object.

python benchmarks/speed.py [PHOTO WORD] [--repeats N]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "examples" / "sea.jpg"
WARM = """
import json, sys, time, unsay
import pyvips
photo = pyvips.Image.new_from_file(sys.argv[1]).colourspace("srgb").numpy()
bundle = unsay.load_bundle("starter")
times = {"segment": [], "erase": []}
for _ in range(int(sys.argv[3]) + 1):
    for name, verb in (("segment", unsay.segment), ("erase", unsay.erase)):
        start = time.perf_counter()
        verb(photo, sys.argv[2], bundle=bundle)
        times[name].append(time.perf_counter() - start)
print(json.dumps({name: values[1:] for name, values in times.items()}))
"""


def timed(command: list[str]) -> tuple[float, str]:
    """Wall-clock seconds of a command, and what it printed; fails if it fails."""
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - start, done.stdout


def cold(photo: Path, word: str, repeats: int) -> list[float]:
    """Seconds of the whole command, each in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / f"out{photo.suffix}")
        command = [sys.executable, "-m", "unsay.cli", "erase", str(photo), word, "-o", out]
        return [timed(command)[0] for _ in range(repeats)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photo", nargs="?", type=Path, default=EXAMPLE)
    parser.add_argument("word", nargs="?", default="orca")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    imports = [timed([sys.executable, "-c", "import unsay"])[0] for _ in range(args.repeats)]
    bare = [timed([sys.executable, "-c", "pass"])[0] for _ in range(args.repeats)]
    commands = cold(args.photo, args.word, args.repeats)
    _, printed = timed([sys.executable, "-c", WARM, str(args.photo), args.word, str(args.repeats)])
    warm = json.loads(printed)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "photo": args.photo.name,
                "word": args.word,
                "import_seconds": round(statistics.median(imports) - statistics.median(bare), 3),
                "cold_command_seconds": round(statistics.median(commands), 2),
                "warm_segment_seconds": round(statistics.median(warm["segment"]), 3),
                "warm_erase_seconds": round(statistics.median(warm["erase"]), 2),
                "peak_mib": round(peak),
                "repeats": args.repeats,
                "cores": os.cpu_count(),
                "python": platform.python_version(),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
