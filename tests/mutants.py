"""Broken copies of a good stack file."""

import random
from collections.abc import Iterator
from pathlib import Path

CASE = Path(__file__).parent / "cases" / "load" / "good_count"


def mutants() -> Iterator[tuple[str, bytes]]:
    """Broken copies of a good stack, the same ones every time."""
    good = (CASE / "stack.yaml").read_bytes()
    lines = good.splitlines(keepends=True)
    chance = random.Random(20)
    words = [b"servers:", b"flavor:", b"image:", b"networks:", b"count:", b"vcpus:", b"cidr:", b"policy:", b"ram:"]
    junk = [b"\t", b"\0", b"\xff", b"[", b"{", b"&", b"*", b"!", b"%", b"@", b"`", b'"', b"'", b": ", b"{{", b"}}"]
    values = [b"[]", b"{}", b"null", b"-1", b"1e999", b"true", b"''", b"99999999999999999999", b"'{{ x }}'", b"!!str a"]
    while True:
        kind = chance.choice(["word", "junk", "value", "cut", "swap", "indent", "repeat", "drop"])
        text = bytearray(good)
        number = chance.randrange(len(lines))
        mixed = list(lines)
        if kind == "word":
            word = chance.choice(words)
            at = text.find(word)
            text[at : at + len(word)] = word[:2] + word[3:]
        elif kind == "junk":
            at = chance.randrange(len(text))
            text[at:at] = chance.choice(junk)
        elif kind == "value":
            key, colon, _ = lines[number].partition(b": ")
            mixed[number] = key + colon + chance.choice(values) + b"\n"
        elif kind == "cut":
            text = text[: chance.randrange(len(text))]
        elif kind == "swap":
            other = chance.randrange(len(lines))
            mixed[number], mixed[other] = mixed[other], mixed[number]
        elif kind == "indent":
            mixed[number] = b" " * chance.choice([1, 3, 5]) + mixed[number]
        elif kind == "repeat":
            mixed.insert(number, mixed[number])
        else:
            del mixed[number]
        yield kind, bytes(text) if kind in ("word", "junk", "cut") else b"".join(mixed)
