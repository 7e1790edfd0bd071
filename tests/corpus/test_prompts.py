"""Prompts: from texts, JSON and images; which counts; and what is broken costs nothing else."""

from __future__ import annotations

import io
import json
import struct
import time
import tracemalloc
import zlib
from typing import Any

import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.corpus.comfyui import GraphError, positive_text
from qrefine.corpus.generators import image_prompt, positive_part
from qrefine.corpus.imagetext import TOO_LONG
from qrefine.corpus.prompts import decode_text, find_prompt
from tests.corpus.odd import PARAMETERS, A, graph, with_texts
from tests.support import encoded, photo

POSITIVE = "a castle,\noil painting"


# Which one counts


@pytest.mark.parametrize(
    ("texts", "metadata", "field", "prompt", "source"),
    [
        ({}, None, None, None, None),
        ({"caption": b"c", "txt": b"t"}, '{"prompt": "p"}', None, "t", "txt"),
        ({"caption": b"c", "txt": b" \n"}, None, None, "c", "caption"),
        ({"txt": b""}, None, None, "", "txt"),
        ({"caption.txt": b"c", "prompt": b"p"}, None, None, "c", "caption.txt"),
        ({}, '{"caption": "c", "prompt": ""}', None, "c", "json:caption"),
        ({}, '{"prompt": 7, "text": "t"}', None, "t", "json:text"),
        ({}, '{"captions": [{"caption": "c"}, "x"]}', None, "c", "json:captions"),
        ({"txt": b"t"}, '{"meta": {"all": ["", "b"]}}', "meta.all.1", "b", "json:meta.all.1"),
        ({"txt": b"t"}, '{"a.b": "dotted"}', "a.b", "dotted", "json:a.b"),
        ({"txt": b"t"}, '{"meta": 3}', "meta.all.1", "t", "txt"),
        ({}, '{"prompt": "half \\ud83d"}', None, "half ?", "json:prompt"),
        ({}, "[" * 50_000, None, None, None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_of_several_prompts_the_first_that_is_not_empty_counts(
    texts: dict[str, bytes], metadata: str | None, field: str | None, prompt: str | None, source: str | None
) -> None:
    assert find_prompt(texts, metadata, None, field) == (prompt, source)


def test_the_image_is_asked_where_nothing_else_has_a_prompt() -> None:
    image = with_texts(parameters=PARAMETERS)
    assert find_prompt({"txt": b"t"}, None, image) == ("t", "txt")
    assert find_prompt({"txt": b""}, "{}", image) == (POSITIVE, "a1111")
    assert find_prompt({"txt": b""}, None, A) == ("", "txt")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50))
def test_every_encoding_with_a_mark_is_read(text: str) -> None:
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert decode_text(text.encode(encoding)) == text


def test_utf_16_without_a_mark_shows_by_its_zeros() -> None:
    assert decode_text("a cat".encode("utf-16-le")) == decode_text("a cat".encode("utf-16-be")) == "a cat"
    assert decode_text(b"a\0b\0c") == "a\0b\0c"  # of odd length
    assert decode_text("é日".encode()) == "é日"


@given(st.binary(max_size=60))
def test_any_bytes_are_a_text(data: bytes) -> None:
    assert decode_text(data).encode() is not None


# In images


def with_exif(kind: str, *, comment: bytes | None = None, model: str | None = None) -> bytes:
    exif = PIL.Image.Exif()
    exif[0x0131] = "a program"  # Pillow writes no block that has folders alone
    if comment is not None:
        exif.get_ifd(0x8769)[0x9286] = comment
    if model is not None:
        exif[0x0110] = model
    return encoded(photo(size=16), kind, exif=exif)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + PARAMETERS.encode("utf-16-be"),
        b"UNICODE\0" + PARAMETERS.encode("utf-16-le"),
        b"ASCII\0\0\0" + PARAMETERS.encode(),
        bytes(8) + PARAMETERS.encode(),
        PARAMETERS.encode(),
    ],
    ids=["be", "le", "ascii", "undefined", "bare"],
)
def test_a_user_comment_is_read_in_each_format_and_encoding(kind: str, comment: bytes) -> None:
    assert image_prompt(with_exif(kind, comment=comment)) == (POSITIVE, "a1111")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"parameters": '{"sui_image_params": {"prompt": "s"}}'}, ("s", "swarmui")),
        ({"parameters": '{"prompt": "f", "negative_prompt": "n"}'}, ("f", "fooocus")),
        ({"prompt": "plain words"}, ("plain words", "png:prompt")),
        ({"invokeai_metadata": '{"positive_prompt": "i"}'}, ("i", "invokeai")),
        ({"sd-metadata": '{"image": {"prompt": [{"prompt": "old", "weight": 1}]}}'}, ("old", "invokeai")),
        ({"Comment": '{"prompt": "n", "uc": "bad"}', "Description": "d"}, ("n", "novelai")),
        ({"Description": f"m --v 6 Job ID: {'0' * 8}-0000-0000-0000-{'0' * 12}"}, ("m --v 6", "png:Description")),
        ({"Comment": "made with a pencil"}, (None, None)),
        ({"parameters": "Negative prompt: x\nSteps: 1"}, (None, None)),
    ],
)
def test_texts_of_generators(texts: dict[str, str], expected: tuple[str | None, str | None]) -> None:
    assert image_prompt(with_texts(**texts)) == expected
    assert image_prompt(with_texts(packed=True, **texts)) == expected


@pytest.mark.parametrize(
    "xmp",
    [
        '<dc:description><rdf:Alt><rdf:li xml:lang="x-default">a &lt;b&gt;</rdf:li></rdf:Alt></dc:description>',
        '<rdf:Description dc:description="a &lt;b&gt;"/>',
    ],
)
def test_xmp_descriptions(xmp: str) -> None:
    head = b"http://ns.adobe.com/xap/1.0/\0" + xmp.encode()
    jpeg = encoded(photo(size=16), "JPEG")
    jpeg = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(head) + 2) + head + jpeg[2:]
    assert image_prompt(jpeg) == ("a <b>", "xmp:description")
    assert image_prompt(with_texts(**{"XML:com.adobe.xmp": xmp})) == ("a <b>", "xmp:description")


def test_comfyui_in_webp_and_civitais_comment() -> None:
    assert image_prompt(with_exif("WEBP", model="prompt:" + graph("webp"))) == ("webp", "comfyui")
    beside = json.dumps({**json.loads(graph("no")), "extraMetadata": json.dumps({"prompt": "civitai's"})})
    comment = b"UNICODE\0" + beside.encode("utf-16-be")
    assert image_prompt(with_exif("JPEG", comment=comment)) == ("civitai's", "civitai")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (PARAMETERS, POSITIVE),
        ("a\nSteps: 20, Sampler: x", "a"),
        ("a\nNegative prompt: b\nNegative prompt: c\nSteps: 20, Sampler: x\nTemplate: a {b}", "a"),
        ("only words, Steps: 5", "only words, Steps: 5"),
        ("Steps: 3, two, one\nSteps: 20, Sampler: x", "Steps: 3, two, one"),
        ("", ""),
    ],
)
def test_the_positive_part(parameters: str, expected: str) -> None:
    assert positive_part(parameters) == expected


# ComfyUI's graphs


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


SAVED = {"9": node("SaveImage", images=["8", 0]), "8": node("VAEDecode", samples=["3", 0])}
TEXT = {
    "6": node("CLIPTextEncode", text="yes", clip=["4", 0]),
    "7": node("CLIPTextEncode", text="no", clip=["4", 0]),
}


@pytest.mark.parametrize(
    "nodes",
    [
        {"3": node("KSamplerAdvanced", noise_seed=1, positive=["6", 0], negative=["7", 0])},
        {
            "3": node("SamplerCustomAdvanced", noise=["1", 0], guider=["2", 0], sampler=["5", 0], sigmas=["5", 0]),
            "2": node("BasicGuider", model=["4", 0], conditioning=["10", 0]),
            "10": node("FluxGuidance", guidance=3.5, conditioning=["6", 0]),
        },
        {
            "3": node("SamplerCustomAdvanced", noise=["1", 0], guider=["2", 0], sampler=["5", 0], sigmas=["5", 0]),
            "2": node("CFGGuider", positive=["6", 0], negative=["7", 0], cfg=3),
        },
        {
            "3": node("KSampler", seed=1, negative=["10", 1], positive=["10", 0]),
            "10": node("ControlNetApplyAdvanced", negative=["7", 0], positive=["6", 0], image=["11", 0]),
            "11": node("LoadImage", image="yes.png"),
        },
        {
            "3": node("KSampler", seed=1, positive=["10", 0], negative=["11", 0]),
            "10": node("ConditioningCombine", conditioning_1=["6", 0], conditioning_2=["12", 0]),
            "12": node("ConditioningSetArea", conditioning=["6", 0], width=64),
            "11": node("ConditioningZeroOut", conditioning=["6", 0]),
        },
        {
            "3": node("KSampler", seed=1, positive=["10", 0]),
            "10": node("CLIPTextEncode", text=["11", 0], clip=["4", 0]),
            "11": node("Reroute", **{"": ["12", 0]}),
            "12": node("PrimitiveStringMultiline", value="yes"),
        },
        {
            "3": node("KSampler", seed=1, positive=["10", 0]),
            "10": node("CLIPTextEncodeSDXL", text_g="yes", text_l="yes", width=1024, clip=["4", 0]),
        },
        {
            "3": node("KSampler (Efficient)", sampler_name="euler", positive=["10", 1], negative=["10", 2]),
            "10": node("Efficient Loader", ckpt_name="yes.safetensors", positive="yes", negative="no"),
        },
        {  # the one behind the saved image, not the first
            "1": node("KSampler", seed=1, positive=["7", 0]),
            "3": node("KSampler", seed=1, positive=["6", 0], latent_image=["1", 0]),
        },
        {  # the last one has no text of its own
            "3": node("UltimateSDUpscale", steps=9, positive=["13", 0], image=["8", 0], samples=["14", 0]),
            "13": node("ConditioningZeroOut", conditioning=["7", 0]),
            "14": node("KSampler", seed=1, positive=["6", 0]),
        },
    ],
)  # fmt: skip
def test_the_text_behind_the_samplers_positive_input(nodes: dict[str, Any]) -> None:
    assert positive_text({**SAVED, **TEXT, **nodes}) == "yes"


def test_texts_are_joined_as_the_graph_joins_them() -> None:
    nodes = {
        "3": node("KSampler", seed=1, positive=["10", 0]),
        "10": node("CLIPTextEncode", text=["11", 0]),
        "11": node("StringConcatenate", string_a="a", string_b=["12", 0], delimiter=" - "),
        "12": node("Text Multiline", text="b"),
    }
    assert positive_text({**SAVED, **nodes}) == "a - b"


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ({}, "no sampler"),
        (TEXT, "no sampler"),
        ({"3": node("KSampler", seed=1, positive=["99", 0])}, "no text"),
        ({"3": node("KSampler", seed=1, positive=["3", 0])}, "no text"),
        (
            {
                "3": node("KSampler", seed=1, positive=["0", 0]),
                **{str(i): node("Reroute", a=[str(i + 10), 0]) for i in range(0, 9000, 10)},
            },
            "no text",
        ),
        ({str(i): node("x") for i in range(20_000)}, "over 10000 nodes"),
        ({"1": "no node", "2": {"inputs": 3}, "3": node("KSampler", positive="words")}, "no sampler"),
    ],
)
def test_graphs_without_a_positive_text_say_why(nodes: dict[str, Any], reason: str) -> None:
    with pytest.raises(GraphError, match=reason):
        positive_text({**SAVED, **nodes})
    image = with_texts(prompt=json.dumps({**SAVED, **nodes}))
    prompt, source = find_prompt({}, None, image)
    assert prompt is None
    assert (source or "").startswith("comfyui: ")


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.sampled_from(["positive", "3", "6"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["3", "6", "class_type", "inputs", "positive", "text", "prompt"]), inner)
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(JSON, st.sampled_from(["prompt", "parameters", "Comment", "invokeai_metadata"]))
def test_whatever_json_an_image_holds_is_a_prompt_or_none(values: Any, keyword: str) -> None:
    prompt, source = image_prompt(with_texts(**{keyword: json.dumps(values)}))
    assert prompt is None or (prompt.strip() and source)


# Hostile images


def chunk(name: bytes, data: bytes, length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    return struct.pack(">I", size) + name + data + struct.pack(">I", zlib.crc32(name + data))


def test_a_chunk_that_claims_four_gigabytes_is_none() -> None:
    assert image_prompt(A[:33] + chunk(b"tEXt", b"parameters\0x", 0xFFFFFFFF) + A[33:]) == (None, None)


def test_a_text_that_unpacks_to_gigabytes_is_not_unpacked_and_the_row_says_so() -> None:
    packer = zlib.compressobj(9)
    zeros = bytes(1 << 20)
    bomb = b"".join(packer.compress(zeros) for _ in range(512)) + packer.flush()
    image = A[:33] + chunk(b"zTXt", b"parameters\0\0" + bomb) + A[33:]
    tracemalloc.start()
    try:
        assert image_prompt(image) == (None, TOO_LONG)
        assert tracemalloc.get_traced_memory()[1] < 48 << 20
    finally:
        tracemalloc.stop()


def test_hostile_xmp_takes_no_time() -> None:
    image = with_texts(
        **{"XML:com.adobe.xmp": "<dc:description><rdf:li>" * 40_000, "prompt": "Negative prompt:" * 9}
    )
    start = time.perf_counter()
    assert image_prompt(image)[1] == "png:prompt"
    image_prompt(with_texts(**{"XML:com.adobe.xmp": "<dc:description" * 60_000}))
    assert time.perf_counter() - start < 2


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_images_have_a_prompt_or_none(data: st.DataObject) -> None:
    image = bytearray(
        data.draw(st.sampled_from([with_texts(parameters=PARAMETERS), with_exif("JPEG", comment=b"ASCII\0\0\0x")]))
    )
    for _ in range(data.draw(st.integers(1, 5))):
        image[data.draw(st.integers(8, len(image) - 1))] = data.draw(st.integers(0, 255))
    image_prompt(bytes(image))
    image_prompt(bytes(image[: data.draw(st.integers(0, len(image)))]))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_images_without_texts_cost_next_to_nothing(kind: str) -> None:
    image = encoded(photo(size=512), kind)

    def seconds(action: Any) -> float:
        def once() -> float:
            start = time.process_time()
            for _ in range(20):
                action()
            return time.process_time() - start

        return min(once() for _ in range(3))

    decode = seconds(lambda: PIL.Image.open(io.BytesIO(image)).load())
    assert seconds(lambda: image_prompt(image)) < decode / 20
