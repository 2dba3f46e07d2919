"""The examples in the docstrings of channels and codes."""

import doctest
import importlib

import pytest
import torch

import codec


@pytest.mark.parametrize("name", [
    "radio.closed_forms", "radio.modulation", "radio.fading", "radio.ofdm",
    "base", "bit_errors", "packets.frame_losses", "packets.jitter", "packets.loss_models", "packets.statistics",
    "composed", "bitstream",
    "cascades", "timing.insertion_deletion", "timing.markers",
    "coding.block_codes", "coding.convolutional", "coding.protection",
    "coding.five_g", "coding.reed_solomon", "coding.unequal",
])  # fmt: skip
def test_examples_give_what_they_show(name):
    module = importlib.import_module(f"codec.channels.{name}")
    found = doctest.testmod(module, extraglobs={**vars(codec), "torch": torch})
    assert found.attempted > 0 and found.failed == 0
