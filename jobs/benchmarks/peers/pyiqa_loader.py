"""(d) What people use for scores alone: pyiqa's PaQ-2-PiQ in a DataLoader. Another network, one score an image."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import webdataset
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from qrefine.config import RefineConfig

BATCH = 16
SCHEMA = pa.schema([("key", pa.string()), ("paq2piq", pa.float32())])


def random_paq2piq(folder: Path) -> Callable[[Tensor], Tensor]:
    """pyiqa's network. It would download ImageNet weights; random ones are enough to measure speed."""
    import pyiqa
    from torchvision.models import ResNet18_Weights, resnet18

    cached = folder / "checkpoints" / Path(ResNet18_Weights.IMAGENET1K_V1.url).name
    cached.parent.mkdir()
    torch.save(resnet18().state_dict(), cached)
    torch.hub.set_dir(folder)
    metric: Callable[[Tensor], Tensor] = pyiqa.create_metric("paq2piq", pretrained=False)
    return metric


class Scored(IterableDataset[dict[str, Any]]):
    """Batches of scores; each worker process has the model and its share of the shards."""

    def __init__(self, shards: Sequence[str]) -> None:
        self._shards = list(shards)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as folder:
            metric = random_paq2piq(Path(folder))
        samples = webdataset.WebDataset(self._shards, shardshuffle=False, empty_check=False)
        for batch in samples.to_tuple("__key__", "jpg").batched(BATCH, collation_fn=None):
            images = np.stack([np.asarray(Image.open(BytesIO(data)).convert("RGB")) for _, data in batch])
            with torch.inference_mode():
                scores = metric(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
            yield {"key": [key for key, _ in batch], "paq2piq": scores.flatten().tolist()}


def run(shards: Sequence[str], out: str, config: RefineConfig, cores: int) -> None:
    batches = DataLoader(Scored(shards), batch_size=None, num_workers=cores, multiprocessing_context="spawn")
    Path(out).mkdir(parents=True)
    with pq.ParquetWriter(f"{out}/part-0.parquet", SCHEMA) as writer:
        for rows in batches:
            writer.write_table(pa.table(rows, schema=SCHEMA))
