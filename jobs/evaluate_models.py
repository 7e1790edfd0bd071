"""Measures the embedded networks on pictures not seen in training, and prints the figures as Markdown.

python jobs/evaluate_models.py --data ../shared/data --features train.pack --sheets /tmp/sheets
python jobs/evaluate_models.py --data ../shared/data --mapper new/mapper.safetensors --quick

Photographs are held out by subject, looks by family. Damage is made by OpenCV, not by the code that training uses.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from training import figures, filtering, pictures, product
from training.contact import difference, sheet
from training.degradations_cv2 import KINDS
from training.figures import Case, Changes, Gain, Image, Plane

Row = tuple[str, str, str]
"""Name, goal, measured value."""


@dataclass(frozen=True)
class Effort:
    """Sizes of the evaluation: pictures per source, their side, cases per kind, pictures per held-out family."""

    pictures: int
    side: int
    crop: int
    cases: int
    ranks: int
    gains: int
    looks: int


QUICK = Effort(pictures=24, side=384, crop=256, cases=2, ranks=6, gains=3, looks=2)
WEIGHTS = {"mapper": "of the package", "restorer": "of the package", "judge": "none"}
"""Options that name weights, and the text if they are not given."""

FULL = Effort(pictures=10_000, side=1024, crop=512, cases=8, ranks=24, gains=10, looks=8)


def main() -> None:
    given = arguments()
    torch.set_grad_enabled(False)
    if given.threads:
        torch.set_num_threads(given.threads)
    effort = QUICK if given.quick else FULL
    try:
        measured = product.load(given.mapper, given.restorer, given.judge)
        undamaged, notes = sources(given, effort)
    except ValueError as error:
        sys.exit(str(error))
    began = time.perf_counter()
    photos = [pictures.middle(p, effort.crop) for p in undamaged["photographs, by subject"].values()]
    weights = (f"{name} `{getattr(given, name) or none}`" for name, none in WEIGHTS.items())
    print(f"{'Quick figures' if given.quick else 'Figures'}: {', '.join(weights)}; seed {given.seed}.\n")
    show("Undamaged pictures", ("source", "pictures", "area below B_MQ", "with over half below", "lowest q"),
         false_alarms(measured, undamaged, given.sheets))  # fmt: skip
    known = {name: list(found.values()) for name, found in undamaged.items() if "not known" not in name}
    mixed = {line: [p for name in names for p in known[name]] for line, names in grouped(known).items()}
    mixed = {name: some for name, some in mixed.items() if not name.startswith("look: ")}
    show("Filtering by q", ("source", "pictures", "AUC of q, damaged or not", "q falls by the damage"),
         filtering.rows(measured.scores, mixed, given.seed))  # fmt: skip
    show("Damaged pictures through the whole refiner",
         ("source", "pictures", "refined", "mean gain", "nearer the truth by 1 dB", "farther by .05 dB"),
         gain_rows(measured, mixed, given.seed))  # fmt: skip
    rows, maps, of = mapper_rows(measured, photos, effort, given.seed)
    show("Mapper", ("figure", "goal", "measured"), rows)
    heads = ("Q", "patches", "mean Q", "mean 1 - severity", "10 %, 50 %, 90 %")
    show("Calibration: what Q means, by patches of damaged photographs", heads, calibration_rows(maps, of))
    rows, by_kind = restorer_rows(measured, photos, effort, given)
    show("Restorer", ("figure", "goal", "measured"), rows)
    show(
        "By kind",
        ("kind", "dB, true map", "dB, the mapper's", "distance, true map", "distance, the mapper's"),
        by_kind,
    )
    show("Undamaged pictures through the whole refiner",
         ("source", "pictures", "changed", "below 45 dB", "below 35 dB", "lowest"),
         change_rows(measured, undamaged, given.sheets))  # fmt: skip
    show("Speed", ("figure", "goal", "measured"), speed_rows(measured, 2 if given.quick else 5))
    print("\n".join(f"- {note}" for note in notes))
    print(f"- {time.perf_counter() - began:.0f} s with {torch.get_num_threads()} threads.")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with photos/ and, optionally, art/check/ and aigi/"
    )
    parser.add_argument("--mapper", help="weights; default: the package's")
    parser.add_argument("--restorer", help="weights; default: the package's")
    parser.add_argument("--judge", help="weights of the acceptance network; default: the package's")
    parser.add_argument(
        "--features", type=Path, help="training pack with EfficientNet-Lite0, for the perceptual distance"
    )
    parser.add_argument(
        "--more", action="append", default=[], metavar="NAME=FOLDER", help="further undamaged pictures"
    )
    parser.add_argument("--sheets", type=Path, metavar="FOLDER", help="write contact sheets")
    parser.add_argument(
        "--quick", action="store_true", help="fewer and smaller pictures: takes minutes, less exact"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, help="threads of torch; use 1 on a busy machine")
    return parser.parse_args()


def show(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table under its title."""
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *(f"| {' | '.join(row)} |" for row in rows)]
    print(f"**{title}**\n\n" + "\n".join(lines) + "\n", flush=True)


def sources(given: argparse.Namespace, effort: Effort) -> tuple[dict[str, dict[str, Image]], list[str]]:
    """Undamaged pictures by source, and notes on what is missing. ValueError without photographs."""
    found: dict[str, dict[str, Image]] = {}
    notes = []
    whole = pictures.photographs(str(given.data / "photos" / "*.tar"))
    found["photographs, by subject"] = pictures.thinned(whole, effort.pictures, effort.side)
    if scikit := pictures.scikit_images():
        found["scikit-image"] = pictures.thinned(scikit, effort.pictures, effort.side)
    else:
        notes.append("scikit-image is not installed: its pictures are left out")
    for name, pattern in (("art/check", "art/check/*.tar"), ("aigi (not known to be undamaged)", "aigi/*.tar")):
        try:
            found[name] = pictures.thinned(
                pictures.shards(str(given.data / pattern)), effort.pictures * 2, effort.side
            )
        except ValueError as error:
            notes.append(f"{error}: left out")
    for text in given.more:
        name, _, path = text.partition("=")
        found[name] = pictures.thinned(pictures.folder(Path(path)), effort.pictures * 2, effort.side)
    size = min(effort.side, 384)
    for name, made in pictures.looks_by_family(effort.looks, size, list(whole.values()), held_out=True).items():
        found[f"look: {name}"] = made
    return found, notes


def grouped(undamaged: Mapping[str, object]) -> dict[str, list[str]]:
    """The sources; before the looks, one group of all looks."""
    looks = [name for name in undamaged if name.startswith("look: ")]
    single = [name for name in undamaged if name not in looks]
    return {**{name: [name] for name in single}, "held-out looks, all": looks, **{name: [name] for name in looks}}


def false_alarms(
    measured: product.Product, undamaged: Mapping[str, Mapping[str, Image]], sheets: Path | None
) -> list[list[str]]:
    """Area below B_MQ on undamaged pictures, by source."""
    maps = {name: measured.scores(list(found.values())) for name, found in undamaged.items()}
    rows = []
    for line, names in grouped(undamaged).items():
        every = [q for name in names for q in maps[name]]
        if not every:
            continue
        below = np.array([float((q < measured.mq).mean()) for q in every])
        rows.append(
            [
                line,
                str(len(every)),
                f"{below.mean():.3f}",
                f"{(below > 0.5).mean():.0%}",
                f"{min(q.mean() for q in every):.2f}",
            ]
        )
        if sheets:
            every_picture = [p for name in names for p in undamaged[name].values()]
            order = np.argsort([q.mean() for q in every])[:60]
            cells = [
                (f"q {every[i].mean():.2f}, {below[i]:.0%} below", [every_picture[i], every[i]]) for i in order
            ]
            if not line.startswith("look: "):
                sheet(sheets / f"alarms-{file_name(line)}.png", cells)
    return rows


def file_name(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text.split(" (")[0]).strip("-")


def lowest(by_kind: Mapping[str, float], count: int = 4) -> str:
    """The lowest, by name."""
    return ", ".join(f"{kind} {by_kind[kind]:.2f}" for kind in sorted(by_kind, key=by_kind.__getitem__)[:count])


def mapper_rows(
    measured: product.Product, photos: Sequence[Image], effort: Effort, seed: int
) -> tuple[list[Row], list[Plane], list[Case]]:
    """Where damage is and how much of it; and the maps and cases that say so."""
    rows: list[Row] = []
    maps: list[Plane] = []
    every: list[Case] = []
    for name, low, high, goal in (("above", 1 / 3, 1.0, ".985 / .90"), ("below", 0.05, 1 / 3, ".95 / .75")):
        of = list(figures.cases(photos, tuple(KINDS), low, high, effort.cases, seed))
        found = measured.scores([case.damaged for case in of])
        pairs = figures.patch_aucs(found, of)
        kinds, values = figures.mean_by_kind(pairs), [value for _, value in pairs]
        rows.append((
            f"patch AUC of 1 - Q, severity {name} a third ({low:.2f} to {high:.2f}): mean / worst kind", goal,
            f"{np.mean(values):.3f} / {min(kinds.values()):.2f} ({len(values)} images; lowest {lowest(kinds)})",
        ))  # fmt: skip
        maps, every = maps + found, every + of
    of = list(figures.cases(photos, tuple(KINDS), 0, 1, effort.ranks, seed + 1, local=False))
    found = measured.scores([case.damaged for case in of])
    ranks = figures.rank_correlations(found, of)
    rows.append((
        f"Spearman of q with severity by kind, mean of {len(ranks)}", ".90",
        f"{np.mean(list(ranks.values())):.3f} (lowest {lowest(ranks)})",
    ))  # fmt: skip
    return rows, maps + found, every + of


def calibration_rows(maps: Sequence[Plane], of: Sequence[Case]) -> list[list[str]]:
    """Predicted against true quality."""
    edges = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.75, 0.8, 0.9, 0.95, 1.0]
    return [
        [f"{b.low:.2f} to {b.high:.2f}", str(b.patches), f"{b.predicted:.2f}", f"{b.true:.2f}",
         f"{b.decile:.2f}, {b.median:.2f}, {b.top:.2f}"]
        for b in figures.calibration(maps, of, edges)
    ]  # fmt: skip


def restorer_rows(
    measured: product.Product, photos: Sequence[Image], effort: Effort, given: argparse.Namespace
) -> tuple[list[Row], list[list[str]]]:
    """PSNR gain in the damaged area and perceptual distance, with strengths from the true and the mapper's map."""

    def told(case: Case) -> Plane:
        return measured.strengths((1 - case.severity * case.region).astype(np.float32), case.region.shape)

    def seen(case: Case) -> Plane:
        return measured.strengths(measured.scores([case.damaged])[0], case.region.shape)

    distance, rows = features(given.features), []
    gains: list[list[Gain]] = []
    ratios: list[dict[str, float]] = []
    places: Sequence[tuple[str, Callable[[Case], Plane], float, str, str]] = (
        ("the true map", told, 1 - measured.mq, "+4.5; none below +0.5", ".6"),
        ("the mapper's map", seen, 0.1, "", ""),
    )
    for name, plane, low, decibels, nearer in places:
        of = list(figures.cases(photos, figures.RESTORED, low, 1.0, effort.gains, given.seed))

        def restore(case: Case, plane: Callable[[Case], Plane] = plane) -> Image:
            return measured.restore(case.damaged, plane(case))

        found = figures.gains(restore, of)
        change, kinds = np.array([g.after - g.before for g in found]), figures.gain_by_kind(found)
        families = ", ".join(f"{family} {gain:+.2f}" for family, gain in figures.gain_by_family(found).items())
        rows += [
            (f"PSNR gained where damaged, {name}, severity {low:.1f} to 1; mean of {len(kinds)} kinds; lowest",
             decibels, f"{np.mean(list(kinds.values())):+.2f}; {min(kinds.values()):+.2f} ({families})"),
            ("the same, worse by over 0.05 dB", "2 %", f"{(change < -0.05).mean():.1%} of {len(found)}"),
        ]  # fmt: skip
        ratio = figures.perceptual_by_kind(found, distance) if distance else {}
        if ratio:
            mild = [k for k in ratio if "blur" in k or "jpeg" in k or k in ("webp", "downsample")]
            means = [np.mean(list(ratio.values())), np.mean([ratio[k] for k in mild])]
            rows.append((
                f"perceptual distance to the truth, refined / damaged, {name}: mean; blur, compression, shrinking",
                nearer and f"{nearer}; .8", f"{means[0]:.2f}; {means[1]:.2f}",
            ))  # fmt: skip
        gains.append(found)
        ratios.append(ratio)
        if given.sheets:
            cells: list[tuple[str, Sequence[Image]]] = [
                (
                    f"{g.case.kind} {g.case.severity:.1f} {g.after - g.before:+.1f} dB",
                    [g.case.damaged, g.restored, g.case.clean],
                )
                for g in found
            ]
            sheet(given.sheets / f"restored-{file_name(name)}.png", cells)
    if distance is None:
        rows.append(("perceptual distance to the truth", ".6; .8", "skipped: no weights are given by --features"))
    first, second = (figures.gain_by_kind(found) for found in gains)
    lines = [
        [kind, *(f"{by.get(kind, float('nan')):+.2f}" for by in (first, second)),
         *(f"{ratio[kind]:.2f}" if kind in ratio else "-" for ratio in ratios)]
        for kind in first
    ]  # fmt: skip
    return rows, lines


def features(path: Path | None) -> Callable[[Image, Image], float] | None:
    """The perceptual distance with the weights in a training pack; None without a pack."""
    if path is None:
        return None
    from training import perceptual

    network = perceptual.load(path)

    def tensor(image: Image) -> torch.Tensor:
        height, width = (side // 16 * 16 for side in image.shape[:2])
        part = np.ascontiguousarray(image[:height, :width].transpose(2, 0, 1))
        return torch.from_numpy(part)[None].float() / 255

    return lambda a, b: float(network.distance(tensor(a), tensor(b)).mean)


def gain_rows(measured: product.Product, sources: Mapping[str, Sequence[Image]], seed: int) -> list[list[str]]:
    """What the whole refiner, acceptance and all, makes of pictures with one damaged region each."""
    rows = []
    for name, clean in sources.items():
        before = filtering.damaged(clean, seed)
        after = measured.refine(before)
        gain = np.array([
            0.0 if b is None else min(99.0, figures.psnr(b, c)) - figures.psnr(a, c)
            for c, a, b in zip(clean, before, after, strict=True)
        ])  # fmt: skip
        refined, many, worse = sum(b is not None for b in after), (gain > 1).sum(), (gain < -0.05).sum()
        rows.append([name, str(len(clean)), str(refined), f"{gain.mean():+.2f} dB", str(many), str(worse)])
    return rows


def change_rows(
    measured: product.Product, undamaged: Mapping[str, Mapping[str, Image]], sheets: Path | None
) -> list[list[str]]:
    """Changes by the whole refiner on undamaged pictures."""
    results = {name: measured.refine(list(found.values())) for name, found in undamaged.items()}
    rows = []
    for line, names in grouped(undamaged).items():
        before = [p for name in names for p in undamaged[name].values()]
        after = [r for name in names for r in results[name]]
        if not before:
            continue
        made = Changes.of(before, after)
        low = [sum(level < bound for level in made.levels) for bound in (45, 35)]
        least = f"{min(made.levels):.1f} dB" if made.levels else "-"
        rows.append(
            [
                line,
                str(made.pictures),
                f"{len(made.levels)} ({len(made.levels) / made.pictures:.0%})",
                *map(str, low),
                least,
            ]
        )
        if sheets and not line.startswith("look: "):
            changed = [(figures.psnr(a, b), a, b) for a, b in zip(before, after, strict=True) if b is not None]
            worst = sorted(changed, key=lambda c: c[0])[:60]
            sheet(
                sheets / f"changed-{file_name(line)}.png",
                [(f"{p:.1f} dB", [a, b, difference(a, b)]) for p, a, b in worst],
            )
    return rows


def speed_rows(measured: product.Product, rounds: int) -> list[Row]:
    """Images of 512 x 512 per second, and megapixels per second."""
    images = list(np.random.default_rng(0).integers(0, 256, (8, 512, 512, 3), dtype=np.uint8))
    large, whole = np.tile(images[0], (2, 2, 1)), np.ones((1024, 1024), np.float32)
    threads = f"({torch.get_num_threads()} threads, float32)"
    maps = 8 / seconds(lambda: measured.scores(images), rounds)
    area = 1.048576 / seconds(lambda: measured.restore(large, whole), rounds)
    return [
        ("mapper, 512 x 512, batch 8", "32 images/s", f"{maps:.1f} images/s {threads}"),
        ("restorer, 1024 x 1024", "1.1 Mpx/s", f"{area:.2f} Mpx/s {threads}"),
    ]


def seconds(action: Callable[[], object], rounds: int) -> float:
    """The best of ``rounds`` after a warm-up: other load on the machine only adds time."""
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return min(times[1:])


if __name__ == "__main__":
    main()
