"""Random numbers of a run's own, and devices by name."""

import pytest
import torch

from ple_study.devices import pick_device, seeded


def test_numbers_of_the_seed_inside_and_the_callers_own_around():
    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(1)
    found = [torch.rand(2)]
    with seeded(torch.device("cpu"), 7):
        inside = torch.rand(3)
    found.append(torch.rand(2))
    assert torch.equal(torch.cat(found), expected)
    assert torch.equal(
        inside, torch.rand(3, generator=torch.Generator().manual_seed(7))
    )


def test_an_error_inside_gives_the_callers_numbers_back():
    state = torch.get_rng_state()
    with pytest.raises(KeyError), seeded(torch.device("cpu"), 7):
        raise KeyError
    assert torch.equal(state, torch.get_rng_state())


def test_auto_asks_the_environment_first(monkeypatch):
    monkeypatch.setenv("PLE_STUDY_DEVICE", "cpu")
    assert pick_device() == torch.device("cpu")
    monkeypatch.setenv("PLE_STUDY_DEVICE", "tpu")
    with pytest.raises(ValueError, match="Found 'tpu'"):
        pick_device()
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.delenv("PLE_STUDY_DEVICE")
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert pick_device().type == expected


@pytest.mark.parametrize("name", ["cuda:x", "cpu:1", "", "cuda:99", "gpu"])
def test_a_device_that_is_none_is_named(name):
    with pytest.raises(ValueError, match=r"Found"):
        pick_device(name)
