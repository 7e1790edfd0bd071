import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from qrefine.training.photos import load_photos


def encoded(width, height, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.png").write_bytes(encoded(40, 30))
    (tmp_path / "sub" / "b.jpg").write_bytes(encoded(35, 50, "JPEG"))
    (tmp_path / "small.png").write_bytes(encoded(40, 10))
    (tmp_path / "broken.png").write_bytes(encoded(40, 40)[:50])
    (tmp_path / "note.txt").write_text("no image")
    return tmp_path


def test_folders_are_read_and_the_unfit_counted(folder):
    photos = load_photos([str(folder)], 30)
    assert sorted(image.shape for image in photos.images) == [(30, 40, 3), (50, 35, 3)]
    assert (photos.too_small, photos.unreadable) == (1, 1)


def test_tars_are_read(folder):
    path = folder / "000000.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("a.png", "small.png", "broken.png", "note.txt"):
            tar.add(folder / name, name)
    photos = load_photos([str(folder / "*.tar")], 30)
    assert (len(photos.images), photos.too_small, photos.unreadable) == (1, 1, 1)


def test_single_files_and_several_patterns(folder):
    assert len(load_photos([str(folder / "a.png"), str(folder / "sub")], 1).images) == 2


def test_no_patterns_is_no_photos():
    assert load_photos([], 100).images == ()


def test_a_glob_that_matches_nothing(tmp_path):
    with pytest.raises(ValueError, match="no file matches --photos"):
        load_photos([str(tmp_path / "*.tar")], 10)


def test_none_is_left(folder):
    with pytest.raises(ValueError, match=r"no photo is left.*3 smaller than 1000 px, 1 unreadable"):
        load_photos([str(folder)], 1000)


def test_a_damaged_tar(tmp_path):
    path = tmp_path / "000000.tar"
    path.write_bytes(b"not a tar at all" * 100)
    with pytest.raises(ValueError, match=r"000000\.tar is neither"):
        load_photos([str(path)], 10)
