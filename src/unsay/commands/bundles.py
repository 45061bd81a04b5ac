"""`unsay bundles`."""

from __future__ import annotations

from typing import Any

from unsay.commands.console import print_json
from unsay.commands.photos import Json


def bundles(as_json: Json = False) -> None:
    """List the bundles that came with the package."""
    from unsay.bundle import load_bundle, packaged_bundles

    described = [_described(load_bundle(name).manifest) for name in packaged_bundles()]
    if as_json:
        print_json({"verb": "bundles", "bundles": described})
        return
    for one in described:
        print(f"{one['name']} {one['version']}: {', '.join(one['verbs'])}; {one['megabytes']} MB; {one['licence']}")
        for name, value in one["scores"].items():
            print(f"  {name}: {', '.join(_flat(value))}")
    if not described:
        print("no bundle came with this package; give a folder with --bundle")


def _flat(value: Any, name: str = "") -> list[str]:
    """Scores of any nesting as "name value" each."""
    if isinstance(value, dict):
        return [part for key, one in value.items() for part in _flat(one, f"{name} {key}".strip())]
    return [f"{name} {value}".strip()]


def _described(manifest: dict[str, Any]) -> dict[str, Any]:
    verbs = [verb for verb in ("segment", "inpaint") if verb in manifest]
    return {
        "name": manifest["name"],
        "version": manifest.get("version"),
        "verbs": verbs if len(verbs) < 2 else ["erase", *verbs],
        "megabytes": round(sum(entry["bytes"] for entry in manifest["files"].values()) / 1e6, 1),
        "licence": manifest.get("licence"),
        "scores": manifest.get("scores", {}),
    }
