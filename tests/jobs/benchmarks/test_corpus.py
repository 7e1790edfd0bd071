from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.corpus import write_corpus
from benchmarks.stubs import GOOD, MENDED, POOR, SleepingMapper, SleepingRestorer
from qrefine.config import ImageSettings
from qrefine.corpus.images import decode
from qrefine.corpus.shards import read_shard
from tests.support import photo


def needs(paths):
    """Whether each image of each shard needs refining, as the sleeping mapper sees it."""
    mapper = SleepingMapper(grid=2)
    return [
        [
            mapper([decode(sample.source, ImageSettings())])[0].score < 0.5
            for sample in read_shard(path, ImageSettings())
        ]
        for path in paths
    ]


@pytest.mark.parametrize("photos", [(), (photo(size=100),)])
def test_the_share_in_need_is_the_one_asked_for(tmp_path, photos):
    found = needs(write_corpus(tmp_path, shards=3, samples=20, side=64, needy=0.25, photos=photos))
    assert [sum(shard) for shard in found] == [5, 5, 5]
    assert [len(shard) for shard in found] == [20, 20, 20]


def test_images_to_start_from_are_chosen_as_they_will_be_stored(tmp_path):
    photos = [photo(name, 100) for name in ("astronaut", "coffee", "rocket")]
    bright = max(photos, key=np.mean).mean()
    paths = write_corpus(
        tmp_path,
        shards=1,
        samples=6,
        side=64,
        needy=0,
        photos=photos,
        fine=lambda image: image.mean() > 0.8 * bright,
    )
    stored = [decode(sample.source, ImageSettings()) for sample in read_shard(paths[0], ImageSettings())]
    assert min(image.mean() for image in stored) > 0.8 * bright
    with pytest.raises(ValueError, match="no image is fine"):
        write_corpus(tmp_path, shards=1, samples=1, side=64, needy=0, fine=lambda _: False)


def test_a_drifting_mix_comes_to_the_same_on_the_whole(tmp_path):
    found = [
        sum(shard)
        for shard in needs(write_corpus(tmp_path, shards=8, samples=20, side=64, needy=0.3, drifting=True))
    ]
    assert sum(found) == pytest.approx(0.3 * 160, abs=4)
    assert max(found) - min(found) == 12


def test_the_same_corpus_twice(tmp_path):
    first, second = (write_corpus(tmp_path / name, shards=1, samples=4, side=32, needy=0.5)[0] for name in "ab")
    assert Path(first).read_bytes() == Path(second).read_bytes()


def test_a_restored_image_scores_between_poor_and_good():
    poor = photo(size=64).copy()
    poor[:16, :16] = 255
    restored = SleepingRestorer()([poor], [None], [""], [0])[0]
    assert [SleepingMapper()([image])[0].score for image in (poor, restored)] == pytest.approx([POOR, MENDED])
    assert POOR < MENDED < GOOD
    assert (poor[:16, :16] == 255).all()
