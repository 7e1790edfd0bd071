import pytest

from qrefine.models.weights import sha256
from training.card import ModelCard, stated_digest, write_card

CARD = ModelCard("Net", "use", "data", "recipe", "figures", "limits")


@pytest.fixture
def card(tmp_path):
    weights = tmp_path / "net.safetensors"
    weights.write_bytes(b"weights")
    return write_card(CARD, weights)


def test_a_card_states_the_digest(card):
    assert card.name == "net.md"
    assert stated_digest(card) == sha256(card.with_suffix(".safetensors"))


def test_a_card_without_a_digest_is_refused(tmp_path):
    path = tmp_path / "net.md"
    path.write_text("# Net\n")
    with pytest.raises(ValueError, match="states no sha256"):
        stated_digest(path)
