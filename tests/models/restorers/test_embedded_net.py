import pytest
import torch

from qrefine.models.restorers.embedded_net import KINDS, RestorerNet, Teller, UNet, cells_of, own


@pytest.fixture(scope="module")
def scene():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, 48, 64, generator=generator), torch.rand(1, 1, 48, 64, generator=generator)


def lively(seed):
    """A U-Net whose every parameter does something."""
    torch.manual_seed(seed)
    net = UNet()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return net


@pytest.fixture(scope="module")
def learned():
    """A restorer of whose kinds two have learned, and those two as U-Nets."""
    trunk, others = lively(0), {}
    net = RestorerNet(trunk).eval()
    for seed, kind in enumerate(("blur", "grid"), 1):
        other, mine = lively(seed), dict(trunk.named_parameters())
        with torch.no_grad():
            for name, parameter in other.named_parameters():
                if not own(name):
                    parameter.copy_(mine[name])
        others[kind] = other
        with torch.no_grad():
            for name, difference in zip(net.names, net.differences, strict=True):
                difference[KINDS.index(kind)] = other.get_parameter(name) - mine[name]
    return net, others


def shares(**given):
    return torch.tensor([given.get(kind, 0.0) for kind in (*KINDS, "nothing")])


@torch.no_grad()
@pytest.mark.parametrize("kind", ["blur", "grid"])
def test_a_sure_kind_is_restored_by_its_own_weights(learned, scene, kind):
    net, others = learned
    torch.testing.assert_close(net(*scene, shares(**{kind: 1.0})), others[kind](*scene), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_kind_that_learned_nothing_is_the_trunk(learned, scene):
    net, _ = learned
    torch.testing.assert_close(net(*scene, shares(noise=1.0)), net.trunk(*scene))


@torch.no_grad()
def test_nothing_to_mend_leaves_all_as_it_is(learned, scene):
    net, _ = learned
    assert torch.equal(net(*scene, shares(nothing=1.0)), scene[0])


@torch.no_grad()
def test_weights_are_mixed_by_the_shares(learned):
    net, _ = learned
    half, blur, grid = (net.mixed(shares(**s)) for s in ({"blur": 0.5, "grid": 0.5}, {"blur": 1.0}, {"grid": 1.0}))
    for name, value in half.items():
        torch.testing.assert_close(value, (blur[name] + grid[name]) / 2)


@torch.no_grad()
def test_the_teller_looks_where_the_strength_asks(scene):
    torch.manual_seed(0)
    teller = Teller().eval()
    pixels = scene[0].repeat(1, 1, 4, 4)
    strength = torch.zeros(1, 1, *pixels.shape[-2:])
    strength[..., :64] = 1
    changed = pixels.clone()
    changed[..., 160:] = 0.5
    told, same = teller(pixels, strength), teller(changed, strength)
    assert told.shape == (1, len(KINDS) + 1)
    elsewhere = (told - teller(changed, 1 - strength)).abs().max()
    assert (told - same).abs().max() < 0.2 * elsewhere


def plain(net, pixels, strength):
    """The U-Net by its docstrings, every operation into memory of its own."""

    def block(b, x):
        normed = b.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x + b.second(torch.relu(b.first(normed)))

    def blocks(of, x):
        for b in of:
            x = block(b, x)
        return x

    x, skips = net.stem(cells_of(pixels, strength)), []
    for before, down in zip(net.before, net.down, strict=False):
        skips.append(blocks(before, x))
        x = down(skips[-1])
    x = blocks(net.before[-1], x)
    for up, after, skip in zip(reversed(net.up), reversed(net.after), reversed(skips), strict=True):
        x = blocks(after, torch.nn.functional.pixel_shuffle(up(x), 2) + skip)
    correction = torch.nn.functional.pixel_shuffle(net.last(x).float(), 2) * 0.3
    return pixels + (strength * 4).clamp(max=1) * correction


# not 16 x 16: a single cell at the deepest scale has no layout of its own, and CPUs differ in the kernel they take
@pytest.mark.parametrize("shape", [(16, 32), (48, 80), (160, 32)])
@pytest.mark.parametrize("half", [False, True])
def test_in_place_operations_change_no_bit_and_keep_the_gradients(shape, half):
    net = lively(3)
    pixels, strength = torch.rand(1, 3, *shape), torch.rand(1, 1, *shape)
    answers = []
    for run in (net, lambda *given: plain(net, *given)):
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            answer = run(pixels, strength)
        answer.square().sum().backward()
        answers.append([answer, *(parameter.grad.clone() for parameter in net.parameters())])
    assert torch.equal(answers[0][0], answers[1][0])
    for ours, theirs in zip(*(found[1:] for found in answers), strict=True):  # their sums come in another order
        torch.testing.assert_close(
            ours, theirs, rtol=0.05 if half else 1e-4, atol=(0.05 if half else 1e-4) * theirs.abs().max().item()
        )
