"""Measures acceptance: harm that is let through, and honest repairs that are kept, on data that no training saw.

python jobs/evaluate_acceptance.py --data ../shared/data --quick --sheets /tmp/sheets
python jobs/evaluate_acceptance.py --data ../shared/data --judge new/judge.safetensors --set accept.threshold=0.9

Photographs are held out by subject, liars and looks by kind. Harm is counted in decibels to the truth: a repair
that ends farther from it, or an undamaged picture that changes to below 45 dB. Prints Markdown.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from evaluation.markdown import show
from qrefine.config import Backend, InpaintSettings, RefineConfig, load_config
from qrefine.models.registry import load_restorer
from qrefine.quality.map import Image
from qrefine.sample import Sample
from qrefine.stages.accept import Accept
from qrefine.stages.refiner import Refiner, build_stages
from training import lies, offers, pictures
from training.contact import difference, sheet
from training.degradations_cv2 import KINDS
from training.figures import RESTORED
from training.generative import HEADS, Outcome, generated, rows, sight
from training.offers import Offer
from training.perceptual import load

HONEST = ("honest repairs", "clean original", "tiny perfect repairs")
PERFECT = tuple(kind for kind in KINDS if kind not in ("patch_swap", "warp", "mixture"))


@dataclass(frozen=True)
class Effort:
    """Cases of each liar, look, honest and perfect kind; photographs and pictures of art; side in pixels."""

    lies: int
    looks: int
    honest: int
    perfect: int
    pictures: int
    side: int


QUICK = Effort(lies=3, looks=1, honest=4, perfect=2, pictures=24, side=256)
FULL = Effort(lies=12, looks=8, honest=12, perfect=8, pictures=10_000, side=512)


@dataclass(frozen=True, eq=False)
class Verdict:
    """What became of an offer; ``result`` is the source where it was kept."""

    offer: Offer
    decision: str
    result: Image

    @property
    def accepted(self) -> bool:
        return self.decision == "accepted"

    @property
    def harm(self) -> bool:
        return self.accepted and offers.harmful(self.offer, self.result)


def verdicts(config: RefineConfig, of: Iterable[Offer]) -> list[Verdict]:
    """What acceptance decides, one image at a time."""
    accept, *_ = build_stages(["accept"], config)
    assert isinstance(accept, Accept)
    found = []
    for offer in of:
        sample = Sample(decoded=offer.before, before=accept.mapper([offer.before])[0]).changed(offer.after, "x")
        done = sample.kept("nothing_to_do") if np.array_equal(offer.after, offer.before) else accept([sample])[0]
        found.append(Verdict(offer, done.verdict or "failed", done.pixels))
    return found


def every_offer(photos: Sequence[Image], effort: Effort, restore: offers.Restore) -> Iterable[Offer]:
    kinds = tuple(KINDS)
    looks = pictures.looks_by_family(effort.looks, effort.side, photos, held_out=True)
    seen = pictures.looks_by_family(1, effort.side, photos, held_out=False)
    seen = dict(list(seen.items())[:: 4 if effort is QUICK else 1]) | pictures.veiled_photographs(photos, "veil")
    told = lies.training_names()[:: 3 if effort is QUICK else 1]
    return chain(
        offers.lying(photos, told, kinds, max(1, effort.lies // 2), "liars, seen kinds"),
        offers.lying(photos, lies.held_out_names(), kinds, effort.lies, "liars, unseen kinds"),
        offers.styled(seen, restore, "styles, seen kinds"),
        offers.styled(looks, restore, "styles, unseen kinds"),
        offers.repaired(photos, RESTORED, effort.honest, restore, HONEST[0]),
        offers.perfect(photos, PERFECT, effort.perfect, 0.1, 0.4, HONEST[1]),
        offers.perfect(photos, PERFECT, effort.perfect, 0.004, 0.02, HONEST[2]),
    )


def share(some: Sequence[object], of: Sequence[object]) -> str:
    return f"{len(some)} of {len(of)}" + (f" ({len(some) / len(of):.1%})" if of else "")


def rows_of_harm(found: Sequence[Verdict]) -> list[tuple[str, str, str, str]]:
    """By family: harmful offers, harm accepted, and the kinds it came from."""
    rows = []
    for family in dict.fromkeys(v.offer.family for v in found):
        of = [v for v in found if v.offer.family == family]
        offered = [v for v in of if offers.harmful(v.offer, v.offer.after)]
        harm = [v for v in of if v.harm]
        kinds = Counter(v.offer.kind for v in harm).most_common(5)
        rows.append((family, share(offered, of), share(harm, of), ", ".join(f"{k} {n}" for k, n in kinds)))
    return rows


def rows_of_repairs(found: Sequence[Verdict]) -> list[tuple[str, str, str, str, str]]:
    """True repairs: kept by count and by decibels, those above 4 dB, and the reasons of the others."""
    rows = []
    for family in HONEST:
        of = [v for v in found if v.offer.family == family and offers.gain(v.offer, v.offer.after) > 0.1]
        kept = [v for v in of if v.accepted and offers.gain(v.offer, v.result) > 0.05]
        gains = {id(v): min(20.0, offers.gain(v.offer, v.offer.after)) for v in of}
        had = sum(gains.values())
        have = sum(min(gains[id(v)], offers.gain(v.offer, v.result)) for v in kept)
        large = [v for v in of if gains[id(v)] > 4]
        why = Counter(v.decision for v in of if not v.accepted).most_common(4)
        rows.append((
            family, share(kept, of), f"{have / max(had, 1e-9):.1%}", share([v for v in large if v in kept], large),
            ", ".join(f"{name} {n}" for name, n in why),
        ))  # fmt: skip
    return rows


def by_kind(found: Sequence[Verdict]) -> list[tuple[str, str]]:
    """Honest repairs that are kept, by size of the gain and by kind of damage."""
    of = [v for v in found if v.offer.family == HONEST[0] and offers.gain(v.offer, v.offer.after) > 0.1]
    sizes = ((0.5, "gain below 0.5 dB"), (2, "0.5 to 2 dB"), (4, "2 to 4 dB"), (float("inf"), "above 4 dB"))
    groups: dict[str, list[Verdict]] = {name: [] for _, name in sizes}
    for v in of:
        gain = offers.gain(v.offer, v.offer.after)
        groups[next(name for most, name in sizes if gain < most)].append(v)
        groups.setdefault(v.offer.kind, []).append(v)
    return [(name, share([v for v in some if v.accepted], some)) for name, some in groups.items()]


def undamaged_rows(
    config: RefineConfig, sources: dict[str, dict[str, Image]], sheets: Path | None
) -> Sequence[tuple[str, ...]]:
    """Undamaged pictures through the whole refiner."""
    refiner, rows = Refiner(config), []
    for name, found in sources.items():
        results = [(image, refiner([image])[0]) for image in found.values()]
        changed = [(a, r) for a, r in results if r.status == "refined"]
        levels = [offers.psnr(a, r.image) for a, r in changed]
        why = Counter(r.decision for _, r in results if r.decision not in ("accepted", "nothing_to_do"))
        rows.append((
            name, str(len(results)), str(len(changed)), str(sum(x < 45 for x in levels)),
            str(sum(x < 35 for x in levels)), ", ".join(f"{k} {n}" for k, n in why.most_common()),
        ))  # fmt: skip
        if sheets:
            cells = [
                (f"{offers.psnr(a, r.image):.1f} dB", [a, r.image, difference(a, r.image)]) for a, r in changed
            ]
            sheet(sheets / f"changed-{name.replace('/', '-')}.png", cells)
    return rows


def generative(config: RefineConfig, photos: Sequence[Image], effort: Effort, given: argparse.Namespace) -> None:
    """A restorer that draws, by a file that spandrel knows: its repairs by the perceptual label."""
    features = load(given.features)
    backend = Backend(name="spandrel", weights=given.generative)
    restorer = load_restorer(backend)
    config = config.model_copy(update={"inpaint": InpaintSettings(**backend.model_dump())})
    looks = [
        p
        for made in pictures.looks_by_family(1, effort.side, photos, held_out=True).values()
        for p in made.values()
    ]
    of = generated(photos, looks, 2 * effort.honest, lambda i, s: restorer([i], [s], [""], [0])[0])
    found = verdicts(config, of)
    outcomes = [
        Outcome(
            v.offer.kind, v.decision, sight(features, v.offer, v.offer.after), sight(features, v.offer, v.result)
        )
        for v in found
    ]
    show("A generative restorer", HEADS, rows(outcomes))
    if given.sheets:
        for kind in dict.fromkeys(v.offer.kind for v in found):
            sheet(given.sheets / f"generative-{kind.replace(' ', '-')}.png", [
                (f"{o.offered.better:.2f} {o.offered.ratio:.2f} {o.offered.gain:+.1f} {o.decision}",
                 [v.offer.truth, v.offer.before, v.offer.after, v.result])
                for v, o in zip(found, outcomes, strict=True) if v.offer.kind == kind
            ], side=256, wide=2080)  # fmt: skip


def seconds(config: RefineConfig) -> str:
    """Time of the judge's pass in terms of a mapping pass, 512 x 512, by what changed."""
    accept, *_ = build_stages(["accept"], config)
    assert isinstance(accept, Accept)
    assert accept.comparator is not None
    image = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    mapping = min(_timed(lambda: accept.mapper([image])) for _ in range(3))
    told = []
    for side in (64, 256, 512):
        other = image.copy()
        other[:side, :side] ^= 64
        judging = min(_timed(partial(accept.comparator, [image], [other])) for _ in range(3))
        told.append(f"{judging / mapping:.2f} where {side} x {side} px changed")
    return ", ".join(told)


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def settings(given: argparse.Namespace) -> RefineConfig:
    more = [f"{key}.weights={path}" for key, path in (
        ("mapper", given.mapper), ("inpaint", given.restorer), ("enhance.blind", given.restorer),
        ("accept.judge", given.judge),
    ) if path]  # fmt: skip
    return load_config(None, [*more, *given.set])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with photos/, and art/check/ where at hand"
    )
    for name in ("mapper", "restorer", "judge"):
        parser.add_argument(f"--{name}", help="weights; without: the package's")
    parser.add_argument("--set", action="append", default=[], help="a setting, such as accept.risk=null")
    parser.add_argument(
        "--generative", metavar="FILE", help="such as Real-ESRGAN (training.real_esrgan): a part of its own"
    )
    parser.add_argument(
        "--features", type=Path, help="EfficientNet-Lite0, a pack or its wheel: the label of generative repairs"
    )
    parser.add_argument("--sheets", type=Path, metavar="FOLDER", help="write contact sheets")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller pictures: minutes, rougher")
    parser.add_argument("--only", choices=("offers", "undamaged", "generative"), help="one part of it")
    given = parser.parse_args()
    if given.generative and not given.features:
        parser.error("--generative needs --features")
    torch.set_grad_enabled(False)
    began, effort, config = time.perf_counter(), QUICK if given.quick else FULL, settings(given)
    whole = pictures.photographs(str(given.data / "photos" / "*.tar"))
    print(f"Acceptance, {'quick' if given.quick else 'full'}; risk {config.accept.risk}.\n")
    photos = list(pictures.thinned(whole, effort.pictures, effort.side).values())
    if given.generative and given.only in (None, "generative"):
        generative(config, photos, effort, given)
    if given.only in (None, "offers"):
        restorer = next(stage for stage in build_stages(["inpaint"], config)).restorer  # type: ignore[attr-defined]
        found = verdicts(config, every_offer(photos, effort, lambda i, s: restorer([i], [s], [""], [0])[0]))
        show("Harm", ("family", "harmful offers", "harm accepted", "by"), rows_of_harm(found))
        show(
            "True repairs",
            ("family", "kept", "decibels kept", "above 4 dB kept", "why not"),
            rows_of_repairs(found),
        )
        show("Honest repairs by kind", ("gain, kind", "accepted"), by_kind(found))
        if given.sheets:
            wrong = [v for v in found if v.harm]
            lost = [
                v
                for v in found
                if v.offer.family in HONEST and not v.accepted and offers.gain(v.offer, v.offer.after) > 0.5
            ]
            for name, some in (("harm", wrong), ("refused", lost)):
                sheet(given.sheets / f"{name}.png", [
                    (f"{v.offer.kind} {offers.gain(v.offer, v.offer.after):+.1f} {v.decision}",
                     [v.offer.truth, v.offer.before, v.offer.after, v.result]) for v in some[:60]
                ])  # fmt: skip
    if given.only in (None, "undamaged"):
        sources = {"photographs": pictures.thinned(whole, effort.pictures, effort.side * 2)}
        try:
            art = pictures.shards(str(given.data / "art" / "check" / "*.tar"))
            sources["art/check"] = pictures.thinned(art, effort.pictures * 2, effort.side * 2)
        except ValueError as error:
            print(f"{error}: left out")
        heads = ("source", "pictures", "changed", "below 45 dB", "below 35 dB", "refused")
        show("Undamaged pictures through the refiner", heads, undamaged_rows(config, sources, given.sheets))
    if config.accept.risk is not None:
        print(f"- The judge's pass, in mapping passes of 512 x 512: {seconds(config)}.")
    print(f"- {time.perf_counter() - began:.0f} s with {torch.get_num_threads()} threads.")


if __name__ == "__main__":
    main()
