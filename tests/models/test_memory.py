"""Batches of one size, halved where memory runs out."""

from __future__ import annotations

import pytest
import torch

from qrefine.models.memory import FittingBatches, Halving


class Network:
    def __init__(self, most):
        self.most = most
        self.sizes = []

    def __call__(self, batch):
        self.sizes.append(len(batch))
        if len(batch) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [10 * item for item in batch]


def test_every_batch_has_the_full_size():
    network = Network(8)
    assert FittingBatches(4).map([1, 2, 3, 4, 5], network) == [10, 20, 30, 40, 50]
    assert network.sizes == [4, 4]
    assert FittingBatches(4).map([], network) == []


def test_a_batch_that_does_not_fit_is_halved_and_the_size_remembered(caplog):
    network, batches = Network(2), FittingBatches(8)
    assert batches.map(list(range(5)), network) == [0, 10, 20, 30, 40]
    assert network.sizes == [8, 4, 2, 2, 2]
    batches.map([1], network)
    assert network.sizes[-1] == 2
    assert caplog.text.count("out of memory") == 2


def test_one_that_never_fits_raises():
    with pytest.raises(torch.OutOfMemoryError):
        FittingBatches(2).map([1], Network(0))


def test_what_fits_is_remembered_for_each_shape_alone():
    network, batches = Network(2), FittingBatches(8)
    batches.map(list(range(8)), network, (1024, 1024))
    roomy = Network(8)
    batches.map(list(range(8)), roomy, (256, 256))
    assert roomy.sizes == [8]
    network.sizes.clear()
    batches.map(list(range(8)), network, (1024, 1024))
    assert network.sizes == [2, 2, 2, 2]


def test_no_size_below_the_least_is_tried():
    tried = []

    def call(size):
        tried.append(size)
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        Halving("pixels", least=64).run(call, 256)
    assert tried == [256, 128, 64]


@pytest.mark.parametrize(
    ("message", "halves"),
    [
        ("CUDA error: out of memory", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("[enforce fail at alloc_cpu.cpp:126] DefaultCPUAllocator: can't allocate memory: you tried", True),
        ("size mismatch", False),
    ],
)
def test_however_a_library_says_that_memory_ran_out(message, halves):
    sizes = []

    def call(size):
        sizes.append(size)
        if size > 2:
            raise RuntimeError(message)
        return size

    halving = Halving("things")
    if not halves:
        with pytest.raises(RuntimeError, match=message):
            halving.run(call, 8)
        assert sizes == [8]
        return
    assert halving.run(call, 8) == 2
    assert halving.size(8) == 2
