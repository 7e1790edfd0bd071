import pytest

from qrefine.models.weights import sha256
from training.card import ModelCard, set_figures, stated_digest, write_card

CARD = ModelCard("Net", "use", "data", "recipe", "old figures", "limits")


@pytest.fixture
def card(tmp_path):
    weights = tmp_path / "net.safetensors"
    weights.write_bytes(b"weights")
    return write_card(CARD, weights)


def test_a_card_states_the_digest(card):
    assert card.name == "net.md"
    assert stated_digest(card) == sha256(card.with_suffix(".safetensors"))


def test_figures_are_replaced_and_nothing_else(card):
    before = card.read_text()
    set_figures(card, r"new \1 figures")
    assert card.read_text() == before.replace("old figures", r"new \1 figures")
    set_figures(card, "old figures")
    assert card.read_text() == before


def test_cards_without_their_places_are_refused(tmp_path):
    path = tmp_path / "net.md"
    path.write_text("# Net\n")
    with pytest.raises(ValueError, match="no place for figures"):
        set_figures(path, "figures")
    with pytest.raises(ValueError, match="states no sha256"):
        stated_digest(path)
