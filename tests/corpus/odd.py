"""Legitimate shards of odd kinds, made by program, with the rows that they must become."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Callable, Sequence

import PIL.Image
import PIL.PngImagePlugin
import pyarrow as pa

from tests.support import encoded, photo

Row = tuple[str, str | None, bytes | None]  # key, prompt, the image's bytes; None where the row fails
Members = Sequence[tuple[str, bytes]]

NAMES = ("astronaut", "chelsea", "coffee", "rocket")
PNGS = [encoded(photo(name, 16)) for name in NAMES]
A, B, C, D = PNGS
JPEG = encoded(photo("coffee", 16), "JPEG")


def link(name: str, target: str, hard: bool = False) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.LNKTYPE if hard else tarfile.SYMTYPE, target
    return info


def tar(*members: tuple[str, bytes] | tarfile.TarInfo, kind: int = tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return out.getvalue()


def zstd(data: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(data)
    return bytes(out.getvalue())


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "tar.gz": lambda data: gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :]),
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
    "tar.zst": zstd,
}


def with_texts(image: bytes = A, *, packed: bool = False, **texts: str) -> bytes:
    """The PNG with text chunks."""
    info = PIL.PngImagePlugin.PngInfo()
    for keyword, text in texts.items():
        info.add_text(keyword, text, zip=packed)
    out = io.BytesIO()
    PIL.Image.open(io.BytesIO(image)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def graph(text: str) -> str:
    return json.dumps(
        {
            "3": {"class_type": "KSampler", "inputs": {"seed": 5, "positive": ["6", 0], "negative": ["7", 0]}},
            "6": {"class_type": "CLIPTextEncode", "inputs": {"text": text, "clip": ["4", 1]}},
            "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}},
        }
    )


PARAMETERS = "a castle,\noil painting\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, Seed: 1, Size: 16x16"
APART = [(f"{i:03d}.png", png) for i, png in enumerate(PNGS)] + [
    (f"{i:03d}.txt", f"prompt {i}".encode()) for i in range(4)
]
APART_ROWS: list[Row] = [(f"{i:03d}", f"prompt {i}", png) for i, png in enumerate(PNGS)]
TOGETHER = sorted(APART)
MARKED, GRAPHED = with_texts(parameters=PARAMETERS), with_texts(packed=True, prompt=graph("a comfy castle"))
LONG = "/".join(["a folder with a long name"] * 6) + "/picture"

ODD: dict[str, tuple[bytes, list[Row]]] = {
    **{
        f"{'apart' if members is APART else 'together'}, {name}": (pack(tar(*members)), APART_ROWS)
        for name, pack in PACKERS.items()
        for members in (APART, TOGETHER)
    },
    "texts first": (tar(*APART[4:], *APART[:4]), APART_ROWS),
    "interleaved as a folder lists it": (tar(*(APART[i] for i in (5, 2, 0, 7, 3, 4, 6, 1))), [
        APART_ROWS[i] for i in (2, 0, 3, 1)
    ]),
    "archives in a row, apart": (tar(*APART) + tar(*APART[1:4], *APART[5:]), [*APART_ROWS, *APART_ROWS[1:]]),
    "texts added later": (tar(*APART[:2], ("002.png", C), ("002.txt", b"c"), *APART[4:6]), [
        *APART_ROWS[:2], ("002", "c", C)
    ]),
    "./ in front of some": (tar(("./a.png", A), ("a.txt", b"a"), ("./d/b.png", B), ("./d/b.txt", b"b")), [
        ("./a", "a", A), ("./d/b", "b", B)
    ]),
    "hard link to an image": (tar(("a.png", A), ("a.txt", b"a"), link("b.png", "a.png", True), ("b.txt", b"b")), [
        ("a", "a", A), ("b", "b", A)
    ]),
    "links to images before and behind": (
        tar(link("b.png", "all/1.png"), ("b.txt", b"b"), ("all/1.png", A), link("c/c.png", "../b.png")),
        [("b", "b", A), ("all/1", None, A), ("c/c", None, A)],
    ),
    "link to a folder on the way": (tar(("d/1.png", A), link("latest", "d"), link("z.png", "latest/1.png")), [
        ("d/1", None, A), ("z", None, A)
    ]),
    "link to a shared text": (tar(("a.png", A), link("a.txt", "b.txt"), ("b.png", B), ("b.txt", b"both")), [
        ("a", "both", A), ("b", "both", B)
    ]),
    "PAX names": (tar((f"{LONG}é.png", A), (f"{LONG}é.txt", b"long"), kind=tarfile.PAX_FORMAT), [
        (f"{LONG}é", "long", A)
    ]),
    "GNU names, apart": (
        tar((f"{LONG}.png", A), ("b.png", B), (f"{LONG}.txt", b"long"), kind=tarfile.GNU_FORMAT),
        [(LONG, "long", A), ("b", None, B)],
    ),
    "mask and depth before the image": (
        tar(("a.depth.png", B), ("a.mask.png", C), ("a.png", A), ("a.txt", b"a")), [("a", "a", A)]
    ),
    "masks apart": (tar(("a.png", A), ("b.png", B), ("a.mask.png", C), ("b.mask.png", D)), [
        ("a", None, A), ("b", None, B)
    ]),
    "depth before an image that has a dot too": (tar(("a.depth.png", B), ("a.image.png", A)), [("a", None, A)]),
    "dots in names": (
        tar(*(member for n, png in ((5, A), (6, B)) for member in (
            (f"img v1.{n} final.png", png), (f"img v1.{n} final.txt", str(n).encode())
        ))),
        [("img v1.5 final", "5", A), ("img v1.6 final", "6", B)],
    ),
    "decimals in names": (tar(("cfg7.5.png", A), ("cfg7.5.caption.txt", b"x"), ("cfg7.5.mask.png", B)), [
        ("cfg7.5", "x", A)
    ]),
    "litter of systems": (
        tar(("d/._0.png", b"\0\5\x16\7" * 9), ("d/0.png", A), ("d/._0.txt", b"\0\5\x16\7"), ("d/0.txt", b"x"),
            ("__MACOSX/d/._0.png", b"\0\5\x16\7"), (".DS_Store", b"1"), ("d/.DS_Store", b"1"),
            ("d/Thumbs.db", b"1"),
            ("Desktop.ini", b"1"), ("d/@eaDir/0.png", B), (".ipynb_checkpoints/0.png", B), ("README", b"read")),
        [("d/0", "x", A)],
    ),
    "upper case and no suffix": (tar(("A.PNG", A), ("A.TXT", b"a"), ("b", B), ("b.txt", b"b"), ("c.JPEG", JPEG)), [
        ("A", "a", A), ("b", "b", B), ("c", None, JPEG)
    ]),
    "captions": (
        tar(("a.png", A), ("a.caption", b"a"), ("b.png", B), ("b.caption.txt", b"b"), ("c.png", C),
            ("c.prompt", b"c"), ("d.png", D), ("d.png.txt", b"d")),
        [("a", "a", A), ("b", "b", B), ("c", "c", C), ("d", "d", D)],
    ),
    "json fields": (
        tar(("a.png", A), ("a.json", b'{"text": "a"}'), ("b.png", B), ("b.json", b'{"captions": ["b", "x"]}'),
            ("c.png", C), ("c.json", b'\xef\xbb\xbf{"caption": "c"}')),
        [("a", "a", A), ("b", "b", B), ("c", "c", C)],
    ),
    "UTF-16 and marks": (
        tar(("a.png", A), ("a.txt", "sechzehn é".encode("utf-16")), ("b.png", B), ("b.txt", b"\xef\xbb\xbfb")),
        [("a", "sechzehn é", A), ("b", "b", B)],
    ),
    "A1111 and ComfyUI": (tar(("a.png", MARKED), ("b.png", GRAPHED)), [
        ("a", "a castle,\noil painting", MARKED), ("b", "a comfy castle", GRAPHED)
    ]),
}  # fmt: skip
