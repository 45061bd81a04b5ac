"""A strict reader of protobuf's wire format, for files that must be looked at before a library opens them.

It knows fields by their numbers, skips what nobody asked for by its length, and does a bounded amount of work. Groups,
which nothing has written for many years, are refused. Source: the public description of the encoding.
"""

from __future__ import annotations

from collections.abc import Iterable
from mmap import mmap

MOST_FIELDS = 2_000_000
"""Fields in one file, read in a second or two; the starter's largest graph has 32,000."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIDTHS = {FIXED64: 8, FIXED32: 4}
_FIRST_BITS = bytes(range(128, 256))
_SLOW, _SKIP, _KEEP, _NUMBER, _LONG = range(5)
Field = tuple[int, int, int]
"""A field's key (its number and wire type, as `key` makes it) and where its value lies; a number's is its `start`."""


class Malformed(ValueError):
    """The bytes are not what they should be; the message says how, without the file's name."""


def key(number: int, wire: int = BYTES) -> int:
    """The number under which a field of this wire type is told from others."""
    return number << 3 | wire


class Layout:
    """Which fields of a kind of message are wanted, by their keys; their numbers with other wire types are refused."""

    def __init__(self, keys: Iterable[int]) -> None:
        self.keys = frozenset(keys)
        self.numbers = frozenset(k >> 3 for k in self.keys)
        self.table = bytes(self._way(k) for k in range(256))

    def _way(self, byte: int) -> int:
        """How a field is read whose key begins with this byte: the quick ways are for what nearly every field is."""
        bits, wire = byte >> 3 & 15, byte & 7
        if byte > 127:  # the key goes on; such numbers (an attribute's type) are skipped unless they may be wanted
            return _LONG if wire == VARINT and all(number & 15 != bits for number in self.numbers) else _SLOW
        if bits == 0 or wire not in (VARINT, BYTES):
            return _SLOW
        if bits in self.numbers:
            return _KEEP if byte in self.keys and wire == BYTES else _SLOW
        return _SKIP if wire == BYTES else _NUMBER


class Reader:
    """Fields of the messages in `data`, at most `MOST_FIELDS` of them in all."""

    def __init__(self, data: bytes | mmap) -> None:
        self.data = data
        self.left = MOST_FIELDS

    def fields(self, at: int, end: int, layout: Layout) -> list[Field]:
        """The wanted fields of the message in data[at:end], in the file's order.

        Raises `Malformed` for bytes that are no message, or too many fields.
        """
        data, table = self.data, layout.table
        found: list[Field] = []
        last, before = end - 1, self.left
        for self.left in range(before, -1, -1):
            if at >= last:
                break
            code, size = data[at], data[at + 1]
            way = table[code]
            if size > 127 or not way:
                at = self._slowly(at, end, layout, found)
            elif way < _NUMBER:
                start = at + 2
                at = start + size
                if way == _KEEP:
                    found.append((code, start, at))
            elif way == _NUMBER:
                at += 2
            elif size and at + 2 < end and data[at + 2] < 128:
                at += 3
            else:
                at = self._slowly(at, end, layout, found)
        else:
            raise Malformed(f"it has more than {MOST_FIELDS} fields")
        if at != end:
            raise Malformed(f"at byte {min(at, end)} it does not end where it should: it is cut short or damaged")
        return found

    def text(self, field: Field) -> str:
        """A field's UTF-8 text. Raises `Malformed`."""
        try:
            return self.data[field[1] : field[2]].decode()
        except UnicodeDecodeError as error:
            raise Malformed(f"at byte {field[1]} it has a name that is not UTF-8") from error

    def integers(self, field: Field) -> list[int]:
        """The numbers of a field, -2**63 up to 2**63: a single one, or several that are packed. Raises `Malformed`."""
        if field[0] & 7 == VARINT:
            return [_signed(field[1])]
        at, found = field[1], []
        while at < field[2]:
            value, at = self._varint(at, field[2])
            found.append(_signed(value))
        return found

    def count(self, field: Field, width: int) -> int:
        """How many numbers a field holds, each of `width` bytes (0: varints). Raises `Malformed`."""
        if field[0] & 7 != BYTES:
            return 1
        size = field[2] - field[1]
        if not width:
            return len(self.data[field[1] : field[2]].translate(None, _FIRST_BITS))  # a varint's last byte
        if size % width:
            raise Malformed(f"at byte {field[1]} it has {size} bytes of numbers of {width}")
        return size // width

    def _slowly(self, at: int, end: int, layout: Layout, found: list[Field]) -> int:
        """One field of any kind; where the next one begins."""
        code, at = self._varint(at, end)
        wire = code & 7
        start, stop = self._varint(at, end) if wire in (VARINT, BYTES) else (at, at)
        if wire == BYTES:
            start, stop = stop, start + stop
        elif wire in _WIDTHS:
            stop = start + _WIDTHS[wire]
        elif wire != VARINT:
            raise Malformed(f"at byte {at} it has a field of kind {wire}, which no graph has")
        if not 8 <= code < 1 << 32:
            raise Malformed(f"at byte {at} it has a field numbered {code >> 3}")
        if code >> 3 in layout.numbers:
            if code not in layout.keys:
                raise Malformed(f"before byte {stop} field {code >> 3} is of kind {wire}, which it never is")
            found.append((code, start, stop))
        return stop

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """The number at `at`, and where it ends."""
        data = self.data
        if at + 1 < end:  # nearly all are this short
            first, second = data[at], data[at + 1]
            if first < 128:
                return first, at + 1
            if second < 128:
                return first & 127 | second << 7, at + 2
        value = shift = 0
        for place in range(at, min(at + 10, end)):
            byte = data[place]
            value |= (byte & 127) << shift
            if byte < 128:
                return value & (1 << 64) - 1, place + 1
            shift += 7
        raise Malformed(f"at byte {at} it has a number that does not end: it is cut short or damaged")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
