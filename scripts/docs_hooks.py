"""Hooks of MkDocs: pages outside docs/ join the site, links to them lead there, nothing is loaded from outside.

Markdown is written for GitHub, where a link is a path in the repository. Here every such path is put to the site's own:
pages of the root become pages of the site, the benchmarks' files are copied, and a link to anything else is an error.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "fuzz/README.md": "fuzzing.md",
    "examples/README.md": "examples.md",
    "src/unsay/bundles/starter/CARD.md": "card.md",
}
"""Pages of the repository outside docs/, and what they are called in the site."""
FOLDERS = {"benchmarks/results/": "results/", "benchmarks/": "benchmarks/", "docs/": ""}
"""Folders whose files are in the site, and where."""
FILES = {"LICENSE": "LICENSE.txt", "benchmarks/results": "figures.md"}
"""Single files (and a folder), likewise."""
SOURCES = {site: source for source, site in PAGES.items()}
CODE = re.compile(r"(^```.*?^```$|`[^`\n]*`)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
LOADED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed|object|use|image)\b[^>]*?"
    r"(?:src|srcset|data|href)=[\"']?((?:https?:)?//[^\"'\s>]+)"
    r"|<link\b(?=[^>]*rel=[\"']?(?:stylesheet|icon|preload|preconnect|modulepreload))[^>]*?href=[\"']?((?:https?:)?//[^\"'\s>]+)"
    r"|(?:@import\s+(?:url\()?|url\()[\"']?((?:https?:)?//[^\"')\s]+)",
    re.IGNORECASE,
)
"""What a browser fetches by itself when it shows a page: scripts, pictures, style sheets, fonts."""


def on_files(files: Files, config: Any) -> Files:
    """Add what lies outside docs/."""
    for source, site in PAGES.items():
        files.append(File.generated(config, site, abs_src_path=str(ROOT / source)))
    copied = [*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "benchmarks" / "results").iterdir(), ROOT / "LICENSE"]
    for path in sorted(copied):
        place = site_place(str(path.relative_to(ROOT)))
        files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as the site has them, and `a\\|b` in tables as it is meant."""
    site = page.file.src_uri
    source = SOURCES.get(site, f"docs/{site}")
    parts = CODE.split(markdown)
    for i in range(0, len(parts), 2):
        parts[i] = LINK.sub(lambda m: m[1] + site_link(m[2], source, site) + m[3], parts[i])
    for i in range(1, len(parts), 2):
        if parts[i].startswith("`") and not parts[i].startswith("```"):
            parts[i] = parts[i].replace("\\|", "|")
    return "".join(parts)


def site_link(target: str, source: str, site: str) -> str:
    """`target`, a link in the repository's file `source`, as a link of the site's page `site`. Raises `PluginError`."""
    if re.match(r"[a-z]+:", target):
        return target
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    place = site_place(path)
    if place is None:
        raise PluginError(f"{source} links to {path}, which the site does not have: see scripts/docs_hooks.py")
    return posixpath.relpath(place, posixpath.dirname(site) or ".")


def site_place(path: str) -> str | None:
    """Where the site has a file of the repository."""
    if path in PAGES:
        return PAGES[path]
    if path in FILES:
        return FILES[path]
    for folder, place in FOLDERS.items():
        if path.startswith(folder):
            return place + path.removeprefix(folder)
    return None


def on_post_build(config: Any) -> None:
    """Raise `PluginError` if a page of the site loads anything from elsewhere."""
    for path in sorted(Path(config["site_dir"]).rglob("*")):
        if path.suffix in (".html", ".css", ".svg") and (found := outside(path.read_text(encoding="utf-8"))):
            raise PluginError(f"{path.name} loads {', '.join(found)} from outside")


def outside(text: str) -> list[str]:
    """Addresses of other machines that a browser would load by itself for this page."""
    return ["".join(groups) for groups in LOADED.findall(text)]
