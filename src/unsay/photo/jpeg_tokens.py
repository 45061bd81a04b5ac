"""The symbols that stand for JPEG blocks, many at a time (T.81 F.1.2, G.1.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from unsay.photo.jpeg import ZIGZAG, Blocks, Jpeg

Array = npt.NDArray[Any]

_CHUNK_BLOCKS = 1 << 16
_LONGEST_RUN = 0x7FFF
_END_OF_BLOCK, _SIXTEEN_ZEROS = 0x00, 0xF0


@dataclass(frozen=True)
class Tokens:
    """Symbols in the order of the file, each with the bits after it.

    `table` [n] which Huffman table (0..7: number, + 4 for AC), `symbol` [n] 0..255, `extra` [n] bits of which the
    lower `size` [n] count. `ends`: after which tokens the bits are filled up to a byte, exclusive.
    """

    table: Array
    symbol: Array
    extra: Array
    size: Array
    ends: Array


def table_numbers(jpeg: Jpeg) -> list[tuple[int, int]]:
    """DC and AC table of each component: the file's own where one scan says so, else 0 for the first and 1."""
    if jpeg.only_scan and not jpeg.progressive:
        return [jpeg.huffman_of[component.number] for component in jpeg.components]
    return [(min(i, 1) if i != 3 else 0,) * 2 for i in range(len(jpeg.components))]


def sequential_tokens(jpeg: Jpeg, blocks: list[Blocks], *, only_dc: bool = False) -> Iterator[Tokens]:
    """The tokens of an interleaved scan, so many MCUs at a time that they fit the memory."""
    most_h, most_v = jpeg.most
    across, down = -(-jpeg.width // (8 * most_h)), -(-jpeg.height // (8 * most_v))
    numbers = table_numbers(jpeg)
    layout = [i for i, c in enumerate(jpeg.components) for _ in range(c.h * c.v)]
    if len(blocks) == 1:  # a scan of one component goes block by block, whatever its factors (A.2.2)
        down, across = blocks[0].shape[:2]
        layout = [0]
    restart = 0 if only_dc else jpeg.restart
    per_chunk = max(1, _CHUNK_BLOCKS // len(layout))
    if restart:
        per_chunk = -(-per_chunk // restart) * restart
    before = np.zeros(len(blocks), np.int16)
    for start in range(0, across * down, per_chunk):
        stop = min(start + per_chunk, across * down)
        units = _units(jpeg, blocks, start, stop, across, only_dc)
        _subtract_dc(units, layout, before, restart)
        table = np.array([numbers[i] for i in layout], np.uint8)
        tokens = _block_tokens(
            units.reshape(-1, units.shape[2]), np.tile(table, (len(units), 1)), restart * len(layout)
        )
        last = stop == across * down
        yield _ended(tokens) if last and not restart else tokens


def _units(jpeg: Jpeg, blocks: list[Blocks], start: int, stop: int, across: int, only_dc: bool) -> Array:
    """[MCUs, blocks, 64 or 1] coefficients in zigzag order; beyond the picture's edge blocks of the nearest DC."""
    rows, columns = np.divmod(np.arange(start, stop), across)
    parts = []
    for component, plane in zip(jpeg.components, blocks, strict=True):
        h, v = (component.h, component.v) if len(blocks) > 1 else (1, 1)
        y = rows[:, None] * v + np.repeat(np.arange(v), h)
        x = columns[:, None] * h + np.tile(np.arange(h), v)
        inside = (y < plane.shape[0]) & (x < plane.shape[1])
        unit = plane[np.minimum(y, plane.shape[0] - 1), np.minimum(x, plane.shape[1] - 1)]
        unit = unit[..., :1] if only_dc else unit[..., ZIGZAG]
        unit[..., 1:][~inside] = 0
        parts.append(unit)
    return np.concatenate(parts, axis=1)


def _subtract_dc(units: Array, layout: list[int], before: Array, restart: int) -> None:
    """Put, in place, differences of the DC coefficients (F.1.2.1); `before`: the last ones, kept for what follows."""
    for i in range(len(before)):
        places = [k for k, component in enumerate(layout) if component == i]
        values = units[:, places, 0].reshape(-1)
        previous = np.concatenate([before[i : i + 1], values[:-1]])
        if restart:
            previous[:: restart * len(places)] = 0
        before[i] = values[-1]
        units[:, places, 0] = (values - previous).reshape(-1, len(places))


def _block_tokens(blocks: Array, tables: Array, interval: int) -> Tokens:
    """The tokens of blocks [n, 64 or 1], zigzag, their DC as differences; `tables` [n, 2] numbers for DC and AC."""
    count, width = blocks.shape
    shown = blocks != 0
    shown[:, 0] = True
    row, k = np.nonzero(shown)
    value = blocks[row, k].astype(np.int32)
    run = np.zeros(len(k), np.int64)
    run[1:] = k[1:] - k[:-1] - 1
    run[k == 0] = 0
    ended = np.append(row[1:] != row[:-1], True) & (k < width - 1)
    table = np.where(k == 0, tables[row, 0], tables[row, 1] + 4).astype(np.uint8)
    after = np.where(ended, 1, 0)
    tokens, main = _laid_out(value, run, table, after)
    tokens.table[main[ended] + 1] = tables[row[ended], 1] + 4
    tokens.symbol[main[ended] + 1] = _END_OF_BLOCK
    if not interval:
        return tokens
    lasts = np.append(np.flatnonzero(row[1:] != row[:-1]), len(row) - 1)  # each block's last entry
    chosen = lasts[np.minimum(np.arange(interval - 1, count + interval - 1, interval), count - 1)]
    return replace(tokens, ends=main[chosen] + after[chosen] + 1)


def band_tokens(plane: Blocks, band: tuple[int, int], number: int) -> Iterator[Tokens]:
    """The tokens of a progressive AC scan of one component (G.1.2.2), its first and only pass."""
    flat = plane.reshape(-1, 64)
    order = ZIGZAG[band[0] : band[1] + 1]
    carried = 0
    for start in range(0, len(flat), _CHUNK_BLOCKS):
        value, run, lasts, runs = _band_entries(flat[start : start + _CHUNK_BLOCKS][:, order])
        runs[0] += carried
        if start + _CHUNK_BLOCKS >= len(flat):
            yield _ended(_with_runs(value, run, number + 4, lasts, runs))
            return
        carried, runs[-1] = int(runs[-1]), 0  # it may go on in the next blocks
        yield _with_runs(value, run, number + 4, lasts, runs)


def _band_entries(blocks: Array) -> tuple[Array, Array, Array, Array]:
    """The coefficients of blocks [n, width] that are not zero: values, zeros before each, the last of each block.

    Beside them how many blocks in a row end before their last coefficient: from the first on, and from each block with
    something in it on, up to the next such block.
    """
    row, k = np.nonzero(blocks)
    new = np.diff(row, prepend=-1) > 0
    run = np.where(new, k, np.diff(k, prepend=0) - 1)
    lasts = np.flatnonzero(np.diff(row, append=len(blocks)) > 0)
    full = np.zeros(len(blocks), bool)
    full[row[lasts]] = k[lasts] == blocks.shape[1] - 1
    early = np.concatenate([[0], np.cumsum(~full)])
    runs = np.diff(early[np.concatenate([[0], row[lasts], [len(blocks)]])])
    return blocks[row, k].astype(np.int32), run, lasts, runs


def _with_runs(value: Array, run: Array, table: int, lasts: Array, runs: Array) -> Tokens:
    """Tokens of coefficients, with `runs` of ended blocks: the first before them, each other after a block's last."""
    lead, waiting = int(runs[0]), runs[1:]
    after = np.zeros(len(value), np.int64)
    after[lasts] = -(-waiting // _LONGEST_RUN)
    tokens, main = _laid_out(value, run, np.full(len(value), table, np.uint8), after)
    sizes = np.frexp(np.maximum(waiting, 1).astype(np.float64))[1] - 1
    short = (waiting > 0) & (waiting <= _LONGEST_RUN)
    place = main[lasts][short] + 1
    tokens.symbol[place] = sizes[short] << 4
    tokens.extra[place] = waiting[short] - (1 << sizes[short])
    tokens.size[place] = sizes[short]
    for i in np.flatnonzero(waiting > _LONGEST_RUN):
        symbol, extra, size = _run_symbols(int(waiting[i]))
        chosen = slice(main[lasts[i]] + 1, main[lasts[i]] + 1 + len(symbol))
        tokens.symbol[chosen], tokens.extra[chosen], tokens.size[chosen] = symbol, extra, size
    if not lead:
        return tokens
    symbol, extra, size = _run_symbols(lead)
    front = np.full(len(symbol), table, np.uint8), np.array(symbol), np.array(extra), np.array(size)
    own = tokens.table, tokens.symbol, tokens.extra, tokens.size
    joined = [np.concatenate([one.astype(other.dtype), other]) for one, other in zip(front, own, strict=True)]
    return Tokens(joined[0], joined[1], joined[2], joined[3], tokens.ends)


def _run_symbols(total: int) -> tuple[list[int], list[int], list[int]]:
    """A run of ended blocks as EOBn symbols, their extra bits and sizes."""
    runs = [_LONGEST_RUN] * (total // _LONGEST_RUN) + ([total % _LONGEST_RUN] if total % _LONGEST_RUN else [])
    sizes = [run.bit_length() - 1 for run in runs]
    return [size << 4 for size in sizes], [run - (1 << size) for run, size in zip(runs, sizes, strict=True)], sizes


def _laid_out(value: Array, run: Array, table: Array, after: Array) -> tuple[Tokens, Array]:
    """Tokens for coefficients: sixteen zeros as often as needed, the coefficient, room for `after` more of size 0.

    Beside them: the place of each coefficient's own token.
    """
    zeros = run >> 4
    main = np.cumsum(1 + zeros + after) - 1 - after
    total = int(main[-1] + after[-1] + 1) if len(main) else 0
    tokens = Tokens(
        np.repeat(table, 1 + zeros + after),
        np.full(total, _SIXTEEN_ZEROS, np.uint8),
        np.zeros(total, np.uint32),
        np.zeros(total, np.uint8),
        np.zeros(0, np.int64),
    )
    size = np.frexp(np.abs(value).astype(np.float32))[1]  # bits of the magnitude: exact below 2^24
    tokens.symbol[main] = (run & 15) << 4 | size
    tokens.size[main] = size
    tokens.extra[main] = np.where(value < 0, value + (1 << size) - 1, value)
    return tokens, main


def _ended(tokens: Tokens) -> Tokens:
    """The last tokens of a scan."""
    return replace(tokens, ends=np.array([len(tokens.symbol)]))
