"""A training job on several workers: Ray Train starts them, each with its share of every step's crops."""

from __future__ import annotations

from collections.abc import Callable

import ray.train
import ray.train.torch
import torch
import torch.distributed
from torch import nn

from qrefine.training.job import Options, Task, run_task
from qrefine.training.loop import Place


def train_on_workers(task: Callable[[], Task], given: Options) -> None:
    """Runs the task on ``given.workers`` workers, a GPU each where there are any.

    Photos, ``given.init`` and the folder of ``given.out`` must be reachable from every worker's machine under the
    same names.
    """

    def worker(_: dict[str, object]) -> None:
        context = ray.train.get_context()
        place = Place(context.get_world_rank(), context.get_world_size(), _rank_zero)
        run_task(task(), given, _distributed, place)

    trainer = ray.train.torch.TorchTrainer(
        worker,
        train_loop_config={},
        scaling_config=ray.train.ScalingConfig(num_workers=given.workers, use_gpu=torch.cuda.is_available()),
    )
    trainer.fit()


def _distributed(net: nn.Module) -> nn.Module:
    return ray.train.torch.prepare_model(net)


def _rank_zero(value: float) -> float:
    """The value of rank 0."""
    device = ray.train.torch.get_device()
    held = torch.tensor([value], dtype=torch.float64, device=device)
    torch.distributed.broadcast(held, 0)
    return float(held)
