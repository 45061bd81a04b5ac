"""Huffman coding of JPEG blocks (T.81 annexes C, F, G, K.2): blocks in, the bytes of scans out, many at a time.

Sequential files get the file's own Huffman tables and restart intervals, so that blocks which did not change keep
their bits; where a new block needs a code that they lack, the shortest ones are made. Progressive files get a DC scan
and three or fewer AC scans a component, without successive approximation. (Ours: `jpeglib` writes neither
progressive files nor restarts nor a fourth component.)
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from unsay.photo.jpeg import Blocks, Huffman, Jpeg, huffman_segment, segment_bytes
from unsay.photo.jpeg_tokens import Array, Tokens, band_tokens, sequential_tokens, table_numbers

_LUMA_BANDS, _CHROMA_BANDS = ((1, 5), (6, 63)), ((1, 63),)


Chunks = Callable[[], Iterator[Tokens]]


def encode_scans(jpeg: Jpeg, blocks: list[Blocks]) -> bytes:
    """Everything from the Huffman tables to the end of the file for the blocks of a JPEG with these markers."""
    if jpeg.progressive:
        return b"".join(_progressive_scans(jpeg, blocks)) + b"\xff\xd9"
    scan = _scan_header(jpeg, range(len(blocks)), (0, 63, 0))
    restart = b"\xff\xdd\0\x04" + jpeg.restart.to_bytes(2, "big") if jpeg.restart else b""

    def chunks() -> Iterator[Tokens]:
        return sequential_tokens(jpeg, blocks)

    tables = _own_tables(jpeg)
    bits = _pack(chunks(), tables, restart=bool(restart)) if tables else None
    if bits is None:
        tables, bits = _shortest(chunks, restart=bool(restart))
    return b"".join([restart, _table_bytes(tables), scan, bits, b"\xff\xd9"])


def _shortest(chunks: Chunks, *, restart: bool = False) -> tuple[dict[int, Huffman], bytes]:
    """The tables made for these tokens, and the tokens coded by them."""
    tables = _best_tables(chunks())
    bits = _pack(chunks(), tables, restart=restart)
    if bits is None:
        raise RuntimeError("the tables made for a scan lack one of its codes")
    return tables, bits


def _progressive_scans(jpeg: Jpeg, blocks: list[Blocks]) -> Iterator[bytes]:
    """The scans of a progressive file: all DC, what matters most of the luminance, colours, the rest."""
    everything = range(len(blocks))
    order: list[tuple[Any, tuple[int, int]]] = [(everything, (0, 0)), ([0], _LUMA_BANDS[0])]
    order += [([i], band) for i in everything if i for band in _CHROMA_BANDS] + [([0], _LUMA_BANDS[1])]
    for chosen, band in order:
        chunks = _passes(jpeg, blocks, chosen[0], band)
        tables, bits = _shortest(chunks)
        yield _table_bytes(tables) + _scan_header(jpeg, chosen, (*band, 0)) + bits


def _passes(jpeg: Jpeg, blocks: list[Blocks], index: int, band: tuple[int, int]) -> Chunks:
    """What gives the tokens of one scan, as often as asked."""
    if band[0] == 0:
        return lambda: sequential_tokens(jpeg, blocks, only_dc=True)
    return lambda: band_tokens(blocks[index], band, table_numbers(jpeg)[index][1])


# --- headers and tables -------------------------------------------------------------------------------------------


def _own_tables(jpeg: Jpeg) -> dict[int, Huffman]:
    if not jpeg.only_scan:
        return {}
    used = {number + 4 * ac for pair in table_numbers(jpeg) for ac, number in enumerate(pair)}
    return {number: jpeg.opening[(number >= 4, number & 3)] for number in sorted(used)}


def _scan_header(jpeg: Jpeg, chosen: Any, spectrum: tuple[int, int, int]) -> bytes:
    numbers = table_numbers(jpeg)
    named = [bytes((jpeg.components[i].number, numbers[i][0] << 4 | numbers[i][1])) for i in chosen]
    return segment_bytes((0xDA, bytes([len(named)]) + b"".join(named) + bytes(spectrum)))


def _table_bytes(tables: dict[int, Huffman]) -> bytes:
    return b"".join(segment_bytes(huffman_segment(n >= 4, n & 3, table)) for n, table in tables.items())


def _codes(table: Huffman) -> tuple[Array, Array]:
    """Code and length of every symbol (T.81 C.2); length 0 where a symbol has none."""
    code, length = np.zeros(256, np.uint32), np.zeros(256, np.uint8)
    value, at = 0, 0
    for bits, count in enumerate(table.counts, 1):
        for symbol in table.symbols[at : at + count]:
            code[symbol], length[symbol] = value, bits
            value += 1
        value <<= 1
        at += count
    return code, length


def _best_tables(chunks: Iterator[Tokens]) -> dict[int, Huffman]:
    counts = np.zeros(8 * 256, np.int64)
    for tokens in chunks:
        counts += np.bincount(tokens.table.astype(np.int64) * 256 + tokens.symbol, minlength=8 * 256)
    return {n: _best_table(row) for n, row in enumerate(counts.reshape(8, 256)) if row.any()}


def _best_table(frequency: Array) -> Huffman:
    """The shortest codes of at most 16 bits for symbols of these frequencies (T.81 K.2)."""
    heap = [(int(count), symbol, [symbol]) for symbol, count in enumerate(frequency) if count]
    heap.append((1, 256, [256]))  # takes the code of ones alone, which no symbol may have
    heapq.heapify(heap)
    lengths = dict.fromkeys([entry[1] for entry in heap], 0)
    while len(heap) > 1:
        few, more = heapq.heappop(heap), heapq.heappop(heap)
        for symbol in few[2] + more[2]:
            lengths[symbol] += 1
        heapq.heappush(heap, (few[0] + more[0], max(few[1], more[1]), few[2] + more[2]))
    bits = np.bincount(list(lengths.values()), minlength=64)
    for i in range(len(bits) - 1, 16, -1):  # figure K.3: pairs of too long codes move up
        while bits[i] > 0:
            j = i - 2
            while bits[j] == 0:
                j -= 1
            bits[i] -= 2
            bits[i - 1] += 1
            bits[j + 1] += 2
            bits[j] -= 1
    bits[np.flatnonzero(bits)[-1]] -= 1  # the reserved one
    ordered = sorted((symbol for symbol in lengths if symbol < 256), key=lambda s: (-int(frequency[s]), s))
    return Huffman(bytes(bits[1:17].tolist()), bytes(ordered))


# --- bits ---------------------------------------------------------------------------------------------------------


def _pack(chunks: Iterator[Tokens], tables: dict[int, Huffman], *, restart: bool = False) -> bytes | None:
    """The coded bytes of a scan: a zero after every 255, with `restart` a marker between aligned parts (F.1.2.3).

    None where the tables lack the code of a symbol that is needed.
    """
    codes, lengths = np.zeros((8, 256), np.uint32), np.zeros((8, 256), np.uint8)
    for number, table in tables.items():
        codes[number], lengths[number] = _codes(table)
    out: list[bytes] = []
    carry, markers = (0, 0), 0
    for tokens in chunks:
        length = lengths[tokens.table, tokens.symbol].astype(np.int64)
        if not length.all():
            return None
        value = codes[tokens.table, tokens.symbol].astype(np.uint64) << tokens.size | tokens.extra
        packed, starts, carry = _bits(value, length + tokens.size, tokens.ends, carry)
        if restart:
            out.append(_stuffed(packed, starts if markers else starts[1:], markers))
            markers += len(starts)
        else:
            out.append(_stuffed(packed, starts[:0], 0))
    return b"".join(out)


def _bits(value: Array, size: Array, ends: Array, carry: tuple[int, int]) -> tuple[Array, Array, tuple[int, int]]:
    """Values [n] of so many bits, one after another, as bytes; after each of `ends` tokens filled up with ones.

    `carry`: bits left over from before, value and count. Beside the bytes: where each filled-up part begins, and what
    is left over when no end comes last.
    """
    value = np.concatenate([np.array([carry[0]], np.uint64), value])
    size = np.concatenate([[carry[1]], size])
    stops = np.cumsum(size)
    if not len(ends):
        whole = int(stops[-1]) // 8
        packed = _words(value, stops - size, size)
        left = int(stops[-1]) - 8 * whole
        rest = int(packed[whole]) >> (8 - left) if left else 0
        return packed[:whole], np.zeros(0, np.int64), (rest, left)
    bounds = stops[ends]  # the carried bits shift every token by one
    parts = np.diff(bounds, prepend=0)
    room = -parts % 8
    shift = np.concatenate([[0], np.cumsum(room)])
    part_of = np.searchsorted(ends, np.arange(len(size)) - 1, side="right")
    starts = stops - size + shift[np.minimum(part_of, len(room))]
    fill = (np.uint64(1) << room.astype(np.uint64)) - np.uint64(1)
    packed = _words(
        np.concatenate([value, fill]), np.concatenate([starts, bounds + shift[:-1]]), np.concatenate([size, room])
    )
    aligned = (bounds + shift[1:]) // 8
    return packed[: int(aligned[-1])], np.concatenate([[0], aligned[:-1]]), (0, 0)


def _words(value: Array, start: Array, size: Array) -> Array:
    """Bytes in which `value` [n] of `size` <= 31 bits stands at bit `start`; no two overlap, so sums are unions."""
    word, shifted = start >> 5, value << (64 - (start & 31) - size).astype(np.uint64)
    count = int(word.max(initial=0)) + 2
    high = np.bincount(word, (shifted >> np.uint64(32)).astype(np.float64), minlength=count)
    low = np.bincount(word + 1, (shifted & np.uint64(0xFFFFFFFF)).astype(np.float64), minlength=count)
    return np.asarray((high + low).astype(np.uint32).astype(">u4").view(np.uint8))


def _stuffed(packed: Array, parts: Array, before: int) -> bytes:
    """The bytes with a zero after each 255, and restart markers, `before` of which were set, where `parts` begin."""
    full = np.flatnonzero(packed == 0xFF) + 1
    numbers = (np.arange(len(parts)) + max(before - 1, 0)) % 8
    markers = np.stack([np.full(len(parts), 0xFF), 0xD0 + numbers], 1).reshape(-1)
    places = np.concatenate([full, np.repeat(parts, 2)])
    return np.insert(packed, places, np.concatenate([np.zeros(len(full)), markers]).astype(np.uint8)).tobytes()
