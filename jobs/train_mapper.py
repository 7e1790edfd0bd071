"""Trains the embedded quality mapper, and writes its weights and card.

python jobs/train_mapper.py --photos 'photos/00000[0-2].tar' --minutes 40
python jobs/train_mapper.py --scores scores.csv --steps 500 --out mine.safetensors
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from qrefine.models.mappers.embedded_net import ARCHITECTURE, MapperNet
from qrefine.models.weights import EMBEDDED, load_weights, save_weights
from qrefine.training.card import Card, write_card
from qrefine.training.job import arguments, main, options, run_task
from qrefine.training.mapping import LIMITS, USE, mapper_task
from qrefine.training.scores import fit_head, load_scored, read_scores


def job() -> None:
    task = mapper_task()
    parser = arguments(__doc__ or "", "mapper.safetensors", task)
    parser.add_argument("--scores", type=Path, metavar="CSV",
                        help="instead of training, fit the head (of --init, or the embedded one) to human scores: "
                             "columns file, score")  # fmt: skip
    given = parser.parse_args()
    if given.scores:
        fit(given)
    elif given.workers > 1:
        from ray_workers import train_on_workers  # Ray is needed here only

        train_on_workers(mapper_task, options(given, task))
    else:
        run_task(task, options(given, task))


def fit(given: argparse.Namespace) -> None:
    """The head of ``--init`` fitted to ``--scores``, written to ``--out`` with a card."""
    scored = read_scores(given.scores)
    net, weights = MapperNet().eval(), given.init or EMBEDDED / "mapper.safetensors"
    notes = load_weights(net, weights, ARCHITECTURE)
    result = fit_head(net, load_scored(scored), scored.scores, given.steps or 500, given.seed)
    save_weights(net, given.out, ARCHITECTURE, {**notes, "scores": given.scores.name})
    figures = (
        f"Spearman of q with the {result.held_out} of {result.images} scores that were held out: "
        f"{result.before:.3f} before, {result.after:.3f} after."
    )
    recipe = f"The head of `{weights.name}` fitted in {given.steps or 500} steps, seed {given.seed}."
    data = f"Human scores from `{given.scores.name}`, brought to [0, 1] by their lowest and highest."
    card = write_card(Card("Mapper fitted to human scores", USE, data, recipe, figures, LIMITS), given.out)
    print(f"wrote {given.out} and {card}. {figures}")


if __name__ == "__main__":
    sys.exit(main(job))
