"""As much of MATLAB's MAT-file format, level 5, as it takes to read an array of structs: ImageNet's meta.mat.

Text and numbers only; everything else in the file is passed over. The format is in MathWorks' "MAT-File Format".

    file     128 bytes of header, then elements
    element  u32 type, u32 bytes, data, padded to 8 bytes; or, if short, u16 type, u16 bytes, 4 bytes of data
    matrix   an element of elements: flags, dimensions, name, then what its class has
"""

import struct
import zlib
from collections.abc import Iterator

from data_shards.errors import DataError

HEADER = 128
MATRIX, COMPRESSED = 14, 15
STRUCT, CHAR = 2, 4
NUMBERS = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 9: "d", 12: "q", 13: "Q"}
"""How the struct module calls each numeric element type."""

TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le"}
MAX_UNPACKED = 64 << 20

Element = tuple[int, bytes]
Row = dict[str, str | float]


def structs(raw: bytes, name: str, file: str) -> list[Row]:
    """The rows of the struct array `name`: its fields that are a text or one number.

    DataError names `file` where it is no little-endian MAT-file of level 5, is damaged, or has no such array.
    """
    if raw[124:128] != b"\x00\x01IM":
        raise DataError(f"{file} is no MAT-file of level 5")
    try:
        for kind, data in _elements(raw[HEADER:]):
            if kind == COMPRESSED:
                kind, data = next(_elements(_unzip(data)))
            if kind == MATRIX:
                parts = _elements(data)
                flags, _, title = (next(parts)[1] for _ in range(3))
                if flags[0] == STRUCT and title == name.encode():
                    return list(_rows(parts))
    except (
        struct.error,
        zlib.error,
        StopIteration,
        IndexError,
        UnicodeDecodeError,
        ValueError,
        RuntimeError,
    ) as error:
        raise DataError(f"{file} is damaged: {type(error).__name__} {error}") from None
    raise DataError(f"{file} has no array of structs called '{name}'")


def _unzip(data: bytes) -> bytes:
    return zlib.decompressobj().decompress(data, MAX_UNPACKED)


def _elements(data: bytes) -> Iterator[Element]:
    """(type, data) of one element after another."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, at)
        if kind >> 16:  # the short form
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
            at += 8
        else:
            start = at + 8
            at = start + size + (0 if kind == COMPRESSED else -size % 8)
        if start + size > len(data):
            raise ValueError(f"an element of {size} bytes where {len(data) - start} are left")
        yield kind, data[start : start + size]


def _rows(parts: Iterator[Element]) -> Iterator[Row]:
    """The structs of an array, after its name: field names of equal length, then a matrix for each field of each."""
    width = struct.unpack("<i", next(parts)[1])[0]
    names = next(parts)[1]
    fields = [names[at : at + width].split(b"\0")[0].decode() for at in range(0, len(names), width)]
    if not fields:
        raise ValueError("an array of structs without fields")
    while True:
        row: Row = {}
        for place, field in enumerate(fields):
            kind, data = next(parts, (0, b""))
            if kind != MATRIX:
                if place == 0 and kind == 0:
                    return
                raise ValueError(f"field '{field}' is of element type {kind}")
            value = _value(data)
            if value is not None:
                row[field] = value
        yield row


def _value(data: bytes) -> str | float | None:
    """A matrix that is a text or one number; None for any other."""
    parts = list(_elements(data))
    if len(parts) != 4:
        return None
    flags, (kind, content) = parts[0][1], parts[3]
    if flags[0] == CHAR:
        return content.decode(TEXTS[kind]) if kind in TEXTS else None
    if kind not in NUMBERS or len(content) != struct.calcsize(NUMBERS[kind]):
        return None
    number: float = struct.unpack(f"<{NUMBERS[kind]}", content)[0]
    return number
