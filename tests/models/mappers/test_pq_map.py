"""CLIP's quality map: against transformers where it is CLIP, against plain loops where it is not."""

from __future__ import annotations

import math

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("transformers", reason="the extra qrefine[diffusion] is not installed")

from transformers import CLIPConfig, CLIPModel

from qrefine.config import MapperSettings
from qrefine.errors import UserError
from qrefine.models.mappers.pq_map import (
    BOUNDS,
    MEAN,
    STD,
    PqMapper,
    anchored,
    assemble_prompt,
    image_tokens,
    text_features,
)
from qrefine.models.registry import load_mapper

SIDE, PATCH, CONTEXT = 56, 8, 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny CLIP as transformers saves it, and learned prompts as their authors do."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={
            "vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 77, "bos_token_id": 48, "eos_token_id": 49,
        },
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 8, "num_attention_heads": 2,
            "image_size": SIDE, "patch_size": PATCH,
        },
        projection_dim=16,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("clip")
    model = CLIPModel(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(path)
    for i, name in enumerate(("overall", *BOUNDS)):
        torch.manual_seed(i + 1)
        params = {
            "prompt_learner.ctx": torch.randn(2, CONTEXT, 16),
            "prompt_learner.token_prefix": torch.randn(2, 1, 16),
            "prompt_learner.token_suffix": torch.randn(2, 77 - 1 - CONTEXT, 16),
        }
        torch.save({"params": params}, path / f"PQ-{name}.pth")
    return path


def mapper(folder, *names, **options):
    prompts = {name: str(folder / f"PQ-{name}.pth") for name in ("overall", *names)}
    settings = MapperSettings(
        name="pq_map",
        weights=str(folder),
        grid=options.pop("grid", 7),
        options={"prompts": prompts, "device": "cpu", **options},
    )
    return load_mapper(settings)


def pictures(*sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def attention(query, key, value, heads):
    """softmax(q k / sqrt(d)) v, head by head and token by token."""
    length, width = query.shape
    size = width // heads
    result = torch.zeros(length, width)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(length):
            weights = torch.softmax(key[:, part] @ query[i, part] / math.sqrt(size), dim=0)
            result[i, part] = weights @ value[:, part]
    return result


def slow_tokens(clip, image):
    """The two ways through the image encoder, written out for one image."""
    pixels = np.asarray(PIL.Image.fromarray(image).resize((SIDE, SIDE), PIL.Image.Resampling.BICUBIC)) / 255
    pixels = torch.tensor((pixels - np.array(MEAN)) / np.array(STD)).permute(2, 0, 1)[None].float()
    model = clip.vision_model
    x = model.pre_layrnorm(model.embeddings(pixels))[0]
    new = None
    for i, block in enumerate(model.encoder.layers):
        inner, a = block.layer_norm1(x), block.self_attn
        q, k, v = a.q_proj(inner), a.k_proj(inner), a.v_proj(inner)
        if i >= 2:  # the last six of eight
            new = (x if new is None else new) + a.out_proj(attention(v, v, v, 2))
        x = x + a.out_proj(attention(q, k, v, 2))
        x = x + block.mlp(block.layer_norm2(x))
    return clip.visual_projection(model.post_layernorm(torch.cat([x[:1], new[1:]])))


def test_map_and_score_are_those_of_the_method_written_out(folder):
    model = mapper(folder)
    (image,) = pictures((80, 60))
    with torch.no_grad():
        tokens = slow_tokens(model.clip, image)
    tokens = tokens / tokens.norm(dim=0, keepdim=True)
    text = model.text["overall"]
    logits = [float(tokens[0] @ text[c]) for c in range(2)]
    score = math.exp(logits[0]) / sum(map(math.exp, logits))
    similarity = np.array([float(token @ text[0]) for token in tokens[1:]])
    relative = (similarity - similarity.min()) / (similarity.max() - similarity.min())
    (found,) = model([image])
    assert found.score == pytest.approx(score, abs=1e-5)
    contrast = min(1.0, score / relative.mean(), (1 - score) / (1 - relative.mean()))
    expected = score + contrast * (relative - relative.mean())
    assert np.abs(found.values.ravel() - expected).max() < 1e-5
    assert found.values.std() > 0.01


def test_without_consistent_blocks_it_is_clip_itself(folder):
    clip = CLIPModel.from_pretrained(folder).eval()
    pixels = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        expected = clip.vision_model(pixels)
        tokens = image_tokens(clip, pixels, 0)
        assert torch.allclose(tokens[:, 0], clip.visual_projection(expected.pooler_output), atol=1e-5)
        everything = clip.visual_projection(clip.vision_model.post_layernorm(expected.last_hidden_state))
        assert torch.allclose(tokens, everything, atol=1e-5)


def test_a_prompt_of_real_tokens_has_clips_own_text_features(folder):
    clip = CLIPModel.from_pretrained(folder).eval()
    ids = torch.randint(0, 40, (2, 77))
    ids[:, 0], ids[:, 20:] = 48, 49
    embedded = clip.text_model.embeddings.token_embedding(ids)
    # the file keeps the context apart: start | name end padding, and 8 + 8 learned tokens around the name
    context = torch.cat([embedded[:, 1:9], embedded[:, 12:20]], 1)
    suffix = torch.cat([embedded[:, 9:12], embedded[:, 20:]], 1)
    assembled, end = assemble_prompt(context, embedded[:, :1], suffix)
    assert end == 20
    assert torch.equal(assembled, embedded)
    with torch.no_grad():
        expected = clip.text_projection(clip.text_model(input_ids=ids).pooler_output)
        assert torch.allclose(text_features(clip, assembled, end), expected, atol=1e-5)


def test_every_dimension_has_its_own_bound(folder):
    images = pictures((64, 64))
    overall = mapper(folder)(images)[0].score
    for name, bound in BOUNDS.items():
        model = mapper(folder, name)
        prompts = {"overall": str(folder / f"PQ-{name}.pth")}
        alone = PqMapper(str(folder), 7, prompts=prompts, device="cpu")(images)[0].score
        assert model(images)[0].score == pytest.approx(overall * min(alone / bound, 1), abs=1e-5)


def test_the_same_map_in_any_batch_and_any_size(folder):
    model = mapper(folder, batch_size=3, grid=16)
    images = pictures((64, 64), (90, 30), (20, 200), (64, 64))
    together = model(images)
    for image, found in zip(images, together, strict=True):
        assert found.n == 16
        assert model([image])[0] == found


@given(st.integers(0, 2**31 - 1), st.floats(0, 1))
def test_the_map_is_anchored_at_the_score(seed, q):
    grid = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(seed))
    anchored_map = anchored(grid, torch.tensor([q], dtype=torch.float32))
    assert 0 <= anchored_map.min() <= anchored_map.max() <= 1
    assert float(anchored_map.mean()) == pytest.approx(q, abs=1e-5)
    order = grid.flatten().argsort()
    assert (anchored_map.flatten()[order].diff() >= -1e-6).all()


def test_missing_and_wrong_files_are_one_line(folder, tmp_path):
    torch.save({"params": {"prompt_learner.ctx": torch.zeros(2, 16, 16)}}, tmp_path / "short.pth")
    other = {
        f"prompt_learner.{n}": torch.zeros(2, k, 8)
        for n, k in [("ctx", 16), ("token_prefix", 1), ("token_suffix", 60)]
    }
    torch.save({"params": other}, tmp_path / "narrow.pth")
    good = str(folder / "PQ-overall.pth")
    for weights, prompts, expected in [
        (None, {"overall": good}, "weights are needed"),
        (str(tmp_path), {"overall": good}, "config.json is missing"),
        ("/absent/clip", {"overall": good}, "no folder /absent/clip"),
        (str(folder), {}, "prompts.overall: Field required"),
        (str(folder), {"overall": good, "moral": good}, "prompts.moral: unknown option"),
        (str(folder), {"overall": "/absent.pth"}, "at /absent.pth"),
        (str(folder), {"overall": str(tmp_path / "short.pth")}, "holds no learned prompts"),
        (str(folder), {"overall": str(tmp_path / "narrow.pth")}, "its prompts are (77, 8) tokens"),
    ]:
        with pytest.raises(UserError) as caught:
            load_mapper(MapperSettings(name="pq_map", weights=weights, options={"prompts": prompts}))
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)
