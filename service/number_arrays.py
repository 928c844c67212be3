"""Arrays of numbers in request bodies: counted without decoding, and decoded with turns for other requests.

msgspec 0.22 takes 6 to 8 µs for a JSON number whose double is not normal (5e-324 to 2e-308), a hundred times as long as
for others: 16,000 of them are a tenth of a second.
"""

import re

import msgspec

from service.turns import Turns

_ITEM = re.compile(rb'\s*(\[[^][{}"]*\]|"[^"\\]*")\s*([,\]])')
QUICK_BYTES = 64 * 1024  # of JSON that take 50 ms at most, whatever the numbers
NUMBERS_AT_ONCE = 500


def are_slow(text: bytes) -> bool:
    """Whether decoding JSON at once might take too long."""
    return len(text) > QUICK_BYTES and (b"e-3" in text or b"E-3" in text)


def count_json(text: bytes) -> int | None:
    """The number of numbers in an array; None for anything but a flat array of numbers."""
    if not text.startswith(b"[") or text.count(b"[") > 1 or b'"' in text or b"{" in text:
        return None
    return text.count(b",") + 1 if text[1:-1].strip() else 0


def split_json(text: bytes, most: int) -> list[bytes] | None:
    """The items of a list of flat arrays and strings, undecoded; None for another list, or one of more items."""
    items: list[bytes] = []
    end = 1
    while text.startswith(b"[") and len(items) < most and (item := _ITEM.match(text, end)):
        items.append(item[1])
        end = item.end()
        if item[2] == b"]":
            return items if end == len(text) else None
    return None


def count_msgpack(array: memoryview) -> int | None:
    """The number of items of a MessagePack array by its header; None for anything else."""
    if not array:
        return None
    if array[0] in (0xDC, 0xDD):
        return int.from_bytes(array[1 : 3 if array[0] == 0xDC else 5])
    return array[0] & 0x0F if 0x90 <= array[0] <= 0x9F else None


async def decode_json(text: bytes) -> list[float] | bytes:
    """The numbers, or the bytes of a base64 string. Raises what msgspec raises."""
    if not text.startswith(b"["):
        return msgspec.json.decode(text, type=bytes)
    if len(text) <= QUICK_BYTES:
        return msgspec.json.decode(text, type=list[float])
    numbers: list[float] = []
    sent, turns = text[1:-1].split(b","), Turns()
    for start in range(0, len(sent), NUMBERS_AT_ONCE):
        piece = b"[" + b",".join(sent[start : start + NUMBERS_AT_ONCE]) + b"]"
        numbers += msgspec.json.decode(piece, type=list[float])
        await turns.give()
    return numbers
