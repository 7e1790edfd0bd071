import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from qrefine.models.judges import comparator_net
from qrefine.models.mappers import embedded_net as mapper_net
from qrefine.models.mappers.embedded import EmbeddedMapper
from qrefine.models.restorers import embedded_net as restorer_net
from qrefine.models.restorers.embedded import EmbeddedRestorer
from qrefine.models.weights import EMBEDDED, load_weights, save_weights, sha256
from training.card import stated_digest


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "line.safetensors"
    save_weights(nn.Linear(3, 2), path, "line-1", {"steps": "7"})
    return path


def test_weights_come_back(saved):
    net = nn.Linear(3, 2)
    assert load_weights(net, saved, "line-1") == {"architecture": "line-1", "steps": "7"}
    assert torch.equal(net.weight, load_file(saved)["weight"])


def refused(path, architecture="line-1", net=None):
    with pytest.raises(ValueError, match=r".") as caught:
        load_weights(net or nn.Linear(3, 2), path, architecture)
    message = str(caught.value)
    assert str(path) in message
    assert architecture in message
    assert "\n" not in message
    return message


def test_another_architecture_is_refused(saved):
    assert "found line-1" in refused(saved, "line-2")


def test_other_shapes_are_refused(saved):
    assert "'weight'" in refused(saved, net=nn.Linear(4, 2))


def test_other_names_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"slope": torch.zeros(2, 3)}, path, metadata={"architecture": "line-1"})
    assert "missing" in refused(path)


def test_a_missing_file_is_refused(tmp_path):
    assert "no such" in refused(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_a_truncated_file_is_refused(saved, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    refused(saved)


def test_a_pickle_is_refused(tmp_path):
    path = tmp_path / "pickle.safetensors"
    torch.save(nn.Linear(3, 2).state_dict(), path)
    refused(path)


def test_a_file_without_a_name_inside_is_refused(tmp_path):
    path = tmp_path / "nameless.safetensors"
    save_file(nn.Linear(3, 2).state_dict(), path)
    assert "no architecture's name" in refused(path)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    path = tmp_path / "nan.safetensors"
    save_file(
        {"weight": torch.full((2, 3), float("nan")), "bias": torch.zeros(2)}, path, {"architecture": "line-1"}
    )
    assert "not finite" in refused(path)


@pytest.mark.parametrize(("backend", "other"), [(EmbeddedMapper, "restorer"), (EmbeddedRestorer, "mapper")])
def test_backends_refuse_each_others_weights(backend, other):
    with pytest.raises(ValueError, match="expected weights of qrefine-"):
        backend(weights=str(EMBEDDED / f"{other}.safetensors"))


SHIPPED = (
    ("mapper", mapper_net.ARCHITECTURE, mapper_net.MapperNet, 4e6),
    ("restorer", restorer_net.ARCHITECTURE, restorer_net.RestorerNet, 12e6),
    ("judge", comparator_net.ARCHITECTURE, comparator_net.ComparatorNet, 3e6),
)


@pytest.mark.parametrize(("name", "architecture", "network", "largest"), SHIPPED)
def test_the_weights_of_the_package(name, architecture, network, largest):
    path = EMBEDDED / f"{name}.safetensors"
    assert path.stat().st_size <= largest
    assert int(load_weights(network(), path, architecture)["steps"]) > 1000
    assert stated_digest(path.with_suffix(".md")) == sha256(path)


def test_the_header_is_plain_json(saved):
    raw = saved.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert header["__metadata__"]["architecture"] == "line-1"
