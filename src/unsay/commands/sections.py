"""The list of commands in `unsay --help`: what one does with a photo first, then what one does with networks."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

PHOTOS = ("erase", "segment", "inpaint", "cutout", "watch", "serve", "batch")
"""The commands for somebody with photos, in the order in which they are listed."""
SHELL = ("completion",)


def sections(names: list[str]) -> dict[str, list[str]]:
    """The headings of the list, each with its commands; a heading without any is left out."""
    photos = [name for name in PHOTOS if name in names]
    shell = [name for name in SHELL if name in names]
    rest = [name for name in names if name not in PHOTOS + SHELL]
    parts = {"Photos": photos, "Networks and data": rest, "Shell": shell}
    return {heading: part for heading, part in parts.items() if part}


class Sections(TyperGroup):
    """The root command, whose help lists its commands in sections."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands' names in the order of the help."""
        return [name for part in sections(list(self.commands)).values() for name in part]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the sections, their columns in line with each other."""
        names = self.list_commands(ctx)
        width = max(len(name) for name in names)
        for heading, part in sections(names).items():
            with formatter.section(heading):
                texts = [self.commands[name].get_short_help_str(formatter.width - width - 6) for name in part]
                formatter.write_dl([(name.ljust(width), text) for name, text in zip(part, texts, strict=True)])
