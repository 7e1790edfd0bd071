from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from qrefine.config import RefineConfig, load_config
from qrefine.errors import UserError
from qrefine.quality.map import QualityMap
from qrefine.report import page as page_module
from qrefine.report.charts import Axis
from qrefine.report.page import ReportOptions, write_report
from qrefine.report.pictures import data_uri, most_changed, overlay
from qrefine.storage.store import Store
from qrefine.table.schema import table_schema
from qrefine.table.table import Table
from tests.report.tables import RUN, refined_table
from tests.support import PLAIN, noisy, photo, qrefine, write_tar


def report(table: Path, folder: Path, config: RefineConfig | None = None, **options: object) -> str:
    size = write_report(str(table), str(folder / "report.html"), config, ReportOptions(**options))  # type: ignore[arg-type]
    text = (folder / "report.html").read_text()
    assert size == len(text.encode())
    return text


class Elements(HTMLParser):
    """Names, ids and addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.targets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "action"):
                self.addresses.append(value or "")
            if name in ("aria-controls", "aria-labelledby"):
                self.targets.append(value or "")


def test_it_names_no_address_and_every_label_has_its_element(real: Path, tmp_path: Path) -> None:
    elements = Elements(report(real, tmp_path))
    assert all(address.startswith(("data:", "#")) for address in elements.addresses)
    assert len(elements.ids) == len(set(elements.ids))
    assert set(elements.targets) <= set(elements.ids)
    assert elements.names.count("article") > 5


def test_what_the_data_says_is_text_and_never_markup(synthetic: Path, tmp_path: Path) -> None:
    text = report(synthetic, tmp_path, sources=False)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "onerror=alert(2)>" not in text
    assert "{{ 7 * 7 }}" in text
    assert Elements(text).names.count("script") == 1


def test_totals_stand_in_the_page(synthetic: Path, tmp_path: Path) -> None:
    text = report(synthetic, tmp_path)
    assert re.search(r"failed</dt><dd>30</dd>", text)
    assert "source shard cannot be read from here" in text
    assert "The table does not tell which bounds" in text


def test_bounds_and_cost_come_from_beside_the_table(
    real: Path, tmp_path: Path, plain: RefineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = real / "_qrefine"
    beside.mkdir(exist_ok=True)
    (beside / f"config-{plain.digest}.json").write_text(json.dumps(plain.digested()))
    (beside / f"run-{RUN}.json").write_text(json.dumps({"seconds": 1800.0, "gpus": 4}))
    other = load_config(None, [*PLAIN, "bounds.lq=0.1"])
    text = report(real, tmp_path, other, gpu_price=2.5)
    assert "LQ q &lt; 0.4" in text
    assert "2.00 GPU-hours, cost 5.00" in text


def test_pictures_stay_within_their_bytes(real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = len(report(real, tmp_path, gallery=2))
    monkeypatch.setattr(page_module, "PICTURE_BYTES", 60_000)
    small = len(report(real, tmp_path, gallery=2))
    assert small < 200_000 < whole  # base64, maps and text come on top
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    for most in (20_000, 2_000, 500):
        assert len(data_uri(noise, most)) <= most * 4 / 3 + 40


def test_the_most_changed_window_holds_the_change() -> None:
    before = photo(size=400)
    after = before.copy()
    after[300:340, 20:60] = 255 - after[300:340, 20:60]
    rows, columns = most_changed(before, after, 100)
    assert rows.start <= 300 < 340 <= rows.stop
    assert columns.start <= 20 < 60 <= columns.stop
    assert most_changed(noisy(before), before, 1000) == (slice(0, 400), slice(0, 400))


def test_an_overlay_is_small() -> None:
    quality = QualityMap(np.random.default_rng(0).uniform(size=(16, 16)).astype(np.float32))
    assert len(overlay(quality)) < 10_000


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.013, 0.24), (0, 12_345), (0, 3)])
def test_ticks_are_round_and_within(low: float, high: float) -> None:
    ticks = Axis(low, high, 0, 100).ticks()
    assert 2 <= len(ticks) <= 6
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)


def test_where_there_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no table at"):
        write_report(str(tmp_path / "nothing"), str(tmp_path / "report.html"))


def test_a_table_without_rows_and_one_of_failures_alone(tmp_path: Path, plain: RefineConfig) -> None:
    empty = tmp_path / "empty"
    Table.open_or_create(Store.at(str(empty)), table_schema(plain.judges))
    assert "no image was refined" in report(empty, tmp_path)
    broken = write_tar(tmp_path / "a.tar", [("a.png", b"no image"), ("b.png", b"")])
    text = report(refined_table([broken], tmp_path / "failed", plain), tmp_path)
    assert "image member is empty" in text
    assert "There are none." in text


def test_it_needs_neither_torch_nor_ray() -> None:
    code = "import sys, qrefine.report.page; print('torch' in sys.modules, 'ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_command_writes_the_file(real: Path, tmp_path: Path) -> None:
    done = qrefine("report", real, "-o", tmp_path / "report.html", "--gallery", 1, "--lower-is-better", "piqe")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"report     {tmp_path / 'report.html'} (")
    assert (tmp_path / "report.html").read_text().count("<article") == 5
