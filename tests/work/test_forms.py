"""Sources of many forms on their way to the table: kept ones keep their bytes, refined ones their form."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow.parquet as pq

from qrefine.config import RefineConfig
from qrefine.corpus import png
from qrefine.corpus.icc import SRGB, SRGB_CURVE, rgb_profile
from qrefine.corpus.images import decode
from qrefine.corpus.metadata import read_metadata
from qrefine.sample import Sample
from qrefine.stages.refiner import MODEL_STAGES, build_stages
from qrefine.storage.store import Store
from qrefine.work.process import process
from qrefine.work.write import Target, encoded, write
from tests.support import encoded as image_file
from tests.support import noisy, photo

P3 = rgb_profile((*SRGB[:2], 0.68, 0.32, 0.265, 0.69, 0.15, 0.06), SRGB_CURVE)
PICTURE = noisy(photo(size=128))
COVER = np.full((128, 128), 255, np.uint8)
COVER[:, :16] = 0


def saved(image: PIL.Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def forms() -> dict[str, tuple[bytes, list[str]]]:
    """Sources, and what a refined one loses."""
    deep = PICTURE.astype(np.uint16) * 257 + 3
    return {
        "p3": (image_file(PICTURE, icc_profile=P3), []),
        "alpha": (saved(PIL.Image.fromarray(np.dstack((PICTURE, COVER)))), []),
        "deep": (png.sixteen_bits(np.minimum(deep, 65535), 3), ["depth"]),
        "cmyk": (saved(PIL.Image.fromarray(PICTURE).convert("CMYK"), "JPEG", quality=95), ["cmyk"]),
        "signed": (png.join(image_file(PICTURE), [png.Chunk(b"caBX", b"manifest")]), ["c2pa"]),
        "prompted": (png.join(image_file(PICTURE), [png.text_chunk("parameters", "a castle")]), []),
        "no tail": (image_file(PICTURE, "JPEG", quality=95)[:-2], ["tail"]),
    }


FORMS = forms()


def rows(root: Path, config: RefineConfig, stages: Any) -> dict[str, dict[str, Any]]:
    samples = [Sample("s.tar", index, key, FORMS[key][0], 1) for index, key in enumerate(FORMS)]
    done = process(samples, build_stages(stages, config), config)
    target = Target(config, Store.at(str(root)), "run-1")
    (part,) = write(done, target)
    return {row["key"]: row for row in pq.read_table(root / part.path).to_pylist()}


def test_kept_rows_carry_the_sources_bytes(tmp_path: Path, plain: RefineConfig) -> None:
    for key, row in rows(tmp_path, plain, ("map",)).items():
        source = FORMS[key][0]
        assert (row["status"], row["image"]["bytes"]) == ("kept", source)
        assert row["lost"] == (["tail"] if key == "no tail" else [])


def test_refined_rows_keep_their_form_and_say_what_they_lost(tmp_path: Path, plain: RefineConfig) -> None:
    for key, row in rows(tmp_path, plain, MODEL_STAGES).items():
        source, lost = FORMS[key]
        assert (row["status"], row["lost"]) == ("refined", lost), key
        before, after = decode(source, plain.images), decode(row["image"]["bytes"], plain.images)
        changed = (before != after).any(axis=-1)
        assert 0 < changed.mean() < 1
        said = read_metadata(row["image"]["bytes"])
        assert plain.digest.encode() in (said.xmp or b"")
        assert said.texts == ({"parameters": "a castle"} if key == "prompted" else {})
        assert said.icc == (P3 if key == "p3" else None)


def test_a_change_that_nobody_sees_is_none(plain: RefineConfig) -> None:
    source = FORMS["alpha"][0]
    pixels = decode(source, plain.images)
    pixels[:, :16] = 0
    sample = Sample("s.tar", 0, "k", source, 1, judgements=((0.0, 1.0),)).changed(pixels, "inpaint")
    done = encoded(sample, plain)
    assert (done.status, done.verdict, done.stages, done.judgements) == ("kept", "not_visible", (), ())
