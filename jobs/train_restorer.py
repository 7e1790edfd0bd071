"""Trains the embedded restorer, and writes its weights and card.

python jobs/train_restorer.py --photos 'photos/00000[0-2].tar' --minutes 60
"""

from __future__ import annotations

import sys

from qrefine.training.job import arguments, main, options, run_task
from qrefine.training.restoring import restorer_task


def job() -> None:
    task = restorer_task()
    given = options(arguments(__doc__ or "", "restorer.safetensors", task).parse_args(), task)
    if given.workers > 1:
        from ray_workers import train_on_workers  # Ray is needed here only

        train_on_workers(restorer_task, given)
    else:
        run_task(task, given)


if __name__ == "__main__":
    sys.exit(main(job))
