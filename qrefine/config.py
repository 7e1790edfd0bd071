"""Frozen settings read from YAML. Unknown keys and invalid values are errors; a digest identifies the settings.

Every default is ours, not the paper's: Q-Refine gives no grid, bounds, steps or strengths. Settings under
``stream`` say how fast and where the work is done, ``storage_options`` how storage is reached, and
``images.store`` which images a table holds; all others change the result and enter the digest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator
from typing_extensions import Self

from qrefine.errors import UserError
from qrefine.settings import Settings, explained

Unit = Annotated[float, Field(ge=0, le=1)]
Wish = Literal["marks", "texture", "soft"]  # kinds of looks that a prompt may ask for
DIGEST_CHARS = 16
SECRET = re.compile(r"(?i)key|secret|token|pass|credential|connection_string")  # in the name of an option


class Bounds(Settings):
    """Where quality counts as low, medium and high; 0 <= lq <= mq <= hq <= 1."""

    lq: Unit = Field(0.4, description="B_LQ: below it a region is LQ; it gets noise and full strength")
    mq: Unit = Field(0.7, description="B_MQ: below it a region is inpainted; at or above it no pixel changes")
    hq: Unit = Field(0.8, description="B_HQ: an image whose mean is below it is enhanced blindly")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.lq <= self.mq <= self.hq:
            raise ValueError(f"bounds must rise: lq {self.lq} <= mq {self.mq} <= hq {self.hq}")
        return self


class Backend(Settings):
    """A network: its registered name or ``package.module:Class``, its weights, its own options."""

    name: str = Field("embedded", min_length=1, description="registered name, or package.module:Class")
    weights: str | None = Field(None, description="file, folder or model id; null: the backend's own")
    options: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of the backend")


class MapperSettings(Backend):
    grid: int = Field(16, ge=1, le=128, description="n: the quality map has at least n x n patches")
    patch: int | None = Field(
        64,
        ge=8,
        le=4096,
        description="largest side of a patch in pixels; in larger images patches have 3/4 of it; null: n is grid",
    )


class NoiseSettings(Settings):
    """G of equation (3): Gaussian, clipped to [0, 1]."""

    mean: Unit = Field(0.5, description="mean of G")
    std: float = Field(0.25, gt=0, le=1, description="standard deviation of G")


class InpaintSettings(Backend):
    strength: float = Field(
        1.0, gt=0, le=1, description="s_max: strength at and below B_LQ; of diffusion models the share of noise"
    )


class EnhanceSettings(Settings):
    """Stage 3, equation (7)."""

    blind: Backend = Field(default_factory=Backend, description="E_B, for images with q < B_HQ")
    prompt: Backend | None = Field(None, description="E_P, for all other images; null: E_B at prompt_strength")
    blind_strength: float = Field(0.5, gt=0, le=1, description="strength of E_B where quality is lowest")
    prompt_strength: float = Field(0.25, gt=0, le=1, description="strength of E_P where quality is lowest")
    positive_words: str = Field(
        "sharp, detailed, high quality",
        description="before the prompt of E_P; alone, the prompt of small crops (option crop_prompt)",
    )


class AcceptSettings(Settings):
    """Do no harm: what a refined image must show before it replaces the source."""

    judge: Backend = Field(default_factory=Backend, description="compares before and after, cell by cell")
    risk: float | None = Field(
        0.01, gt=0, lt=1, description="share of harm let pass, half where most is poor; null: no judge"
    )
    threshold: Unit | None = Field(None, description="least probability of a better cell; null: by risk")
    colour: float = Field(16, gt=0, le=255, description="levels that the mean colour of a 16 px cell may move")
    wishes: dict[Wish, tuple[str, ...]] = Field({}, description="more words for looks that prompts ask for")
    tolerance: Unit = Field(0.02, description="a changed patch may lose this much Q before it is taken back")
    min_gain: Unit = Field(0.0, description="Q must rise by more than this where the image changed")
    rounds: int = Field(2, ge=0, le=8, description="times that worse patches are taken back and scored again")
    feather: Unit = Field(0.5, description="width of the seam around them, in patch sides")


class InputSettings(Settings):
    """How the files of a corpus become samples."""

    keys: Literal["auto", "first_dot", "last_dot"] = Field(
        "auto",
        description="where a key ends: at the first dot of the file's name, as WebDataset has it, or at the last;"
        " auto: at the first dot behind which all parts can be suffixes (a letter, then letters, digits, _ or -)",
    )
    prompt: str | None = Field(
        None, min_length=1, description="field of the json, or column, that holds the prompt: meta.captions.0"
    )
    image_column: str | None = Field(
        None, description="Parquet: column of the image; null: found by type and name"
    )
    key_column: str | None = Field(None, description="Parquet: column of the key; null: found by name")


class ImageSettings(Settings):
    suffix: str | None = Field(
        None,
        description="suffix of the image to take where a key has several; null: one without a further dot"
        " (a.png, not a.mask.png), else the first",
    )
    max_megapixels: float = Field(64, gt=0, le=178, description="larger images fail, against decompression bombs")
    max_megabytes: float = Field(256, gt=0, le=2047, description="larger shard members fail without being read")
    format: Literal["png", "webp", "jpeg"] = Field(
        "png", description="file format of refined images; png is lossless and holds most (docs/images.md)"
    )
    quality: int = Field(95, ge=1, le=100, description="encoder quality of webp and jpeg; webp of 100 is lossless")
    compression: int = Field(
        3,
        ge=0,
        le=9,
        description="png compression: 0 none; 1 to 3 by run lengths, fast; 4 to 9 ever slower and smaller",
    )
    store: Literal["all", "refined", "none"] = Field(
        "all", description="images that the table holds; others are read from their shard, which must stay"
    )


class Pool(Settings):
    """One actor pool and the stages that it runs in sequence."""

    stages: tuple[Literal["map", "noise", "inpaint", "enhance", "accept"], ...] = Field(min_length=1)
    size: int = Field(1, ge=1, le=4096, description="number of actors")
    cpus: float = Field(1.0, ge=0, le=256, description="logical CPUs of each actor")
    gpus: float = Field(0.0, ge=0, le=16, description="GPUs of each actor; below 1: several actors share a GPU")


class StreamSettings(Settings):
    """Speed, place and fault tolerance of a run; nothing here changes a pixel."""

    executor: Literal["auto", "ray", "local"] = Field(
        "auto", description="ray, or local: threads in this process; auto: local for small inputs"
    )
    workers: int | None = Field(
        None, ge=1, le=1024, description="threads of the local executor; null: one per CPU"
    )
    topology: Literal["auto", "pooled", "colocated"] = Field("auto", description="see ARCHITECTURE.md#topologies")
    pools: tuple[Pool, ...] | None = Field(None, description="explicit pools instead of a topology")
    batch_size: int = Field(8, ge=1, le=1024, description="samples per batch of an actor")
    block_mb: float = Field(8, gt=0, le=128, description="megabytes of encoded images in one Ray block")
    part_rows: int = Field(10_000, ge=1, le=100_000, description="most rows in a part, counted after each batch")
    part_seconds: float = Field(
        600, ge=0, le=86_400, description="most seconds that a part is gathered for; a kill repeats them"
    )
    commit_seconds: float = Field(5, gt=0, le=3600, description="most seconds from one commit to the next")
    retries: int = Field(
        2, ge=0, le=10, description="retries of rows that were lost with a dead process, one sample at a time"
    )
    store_mb: int | None = Field(None, ge=80, description="object store of a local Ray, in megabytes; null: 512")
    read_retries: int = Field(
        5, ge=0, le=100, description="times that a broken read is resumed from where it stopped"
    )
    gpus: int | None = Field(
        None, ge=0, description="GPUs to plan for at the start (autoscaling); null: those of the cluster"
    )
    address: str | None = Field(
        None, description="address of a Ray cluster; null: the job's own, else a local Ray"
    )


class RefineConfig(Settings):
    """Everything a refinement needs; ``RefineConfig()`` runs on a laptop with the embedded models."""

    mode: Literal["fused", "paper"] = Field("fused", description="per-pixel strength, or the paper's equations")
    seed: int = Field(0, ge=0, lt=2**31, description="with the sample's key, the seed of all randomness")
    stages: tuple[Literal["noise", "inpaint", "enhance"], ...] = Field(
        ("noise", "inpaint", "enhance"), description="pipeline stages that may run"
    )
    bounds: Bounds = Bounds()
    mapper: MapperSettings = Field(
        MapperSettings(), description="Q; a list of mappers: for each patch the worst of what they say"
    )
    noise: NoiseSettings = NoiseSettings()
    inpaint: InpaintSettings = InpaintSettings()
    enhance: EnhanceSettings = EnhanceSettings()
    accept: AcceptSettings = AcceptSettings()
    judges: tuple[str, ...] = Field(("piqe",), description="metrics reported beside the scores; they never decide")
    judges_on: Literal["all", "refined"] = Field("refined", description="rows that judges score")
    input: InputSettings = InputSettings()
    images: ImageSettings = ImageSettings()
    storage_options: dict[str, Any] = Field(
        default_factory=dict, repr=False, description="options for fsspec; secrets are never shown"
    )
    stream: StreamSettings = StreamSettings()

    @field_validator("mapper", mode="before")
    @classmethod
    def _several(cls, given: Any) -> Any:
        """A list of mappers, each a name or its settings, is short for the mapper ``worst`` that combines them."""
        if not isinstance(given, (list, tuple)):
            return given
        mappers = [{"name": one} if isinstance(one, str) else one for one in given]
        return {"name": "worst", "options": {"mappers": mappers}}

    @model_validator(mode="after")
    def _refined_images_are_stored(self) -> Self:
        if self.images.store == "none" and self.stages:
            raise ValueError("images.store: none would lose what stages refine; it goes with stages: []")
        return self

    @property
    def digest(self) -> str:
        """Identifies the settings that change results; 16 hexadecimal characters."""
        return hashlib.sha256(json.dumps(self.digested(), sort_keys=True).encode()).hexdigest()[:DIGEST_CHARS]

    def digested(self) -> dict[str, Any]:
        """The settings that change results, as plain data; no secrets among them."""
        return self.model_dump(mode="json", exclude={"stream": True, "storage_options": True, "images": {"store"}})


def sample_seed(key: str, seed: int, draw: int = 0) -> int:
    """Seed of a sample from its key and the configuration's seed; 63 bits, the same on any worker.

    Another ``draw`` gives another seed, for a sample that is refined again with the same settings.
    """
    text = f"{seed}.{draw}/{key}" if draw else f"{seed}/{key}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> RefineConfig:
    """Settings from a YAML file (or the defaults) with ``a.b=value`` overrides, each value read as YAML.

    Raises UserError with the key's path and the allowed range.
    """
    data: Any = {}
    if path is not None:
        try:
            data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"cannot read the configuration {path}: {error.strerror}") from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, or no such date
            raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
        data = {} if data is None else data
    if not isinstance(data, dict):
        raise UserError(f"{path} must hold a mapping of settings, not a {type(data).__name__}")
    for override in overrides:
        _override(data, override)
    return parse_config(data)


def parse_config(data: dict[str, Any]) -> RefineConfig:
    """Settings from plain data; raises UserError as `load_config` does."""
    try:
        return RefineConfig.model_validate(data)
    except ValidationError as error:
        raise UserError(explained(error, RefineConfig)) from error


def _override(data: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise UserError(f"--set {override!r}: expected KEY=VALUE, such as --set bounds.mq=0.6")
    if path.strip().startswith("storage_options") and SECRET.search(override):
        raise UserError(f"--set {path.strip()}: others can read a command line; use the YAML or the environment")
    *parents, last = path.strip().split(".")
    for parent in parents:
        if data.get(parent) is None:
            data[parent] = {}
        data = data[parent]
        if not isinstance(data, dict):
            raise UserError(f"--set {override!r}: {parent} is not a group of settings")
    try:
        data[last] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"--set {override!r}: the value is not YAML") from error
