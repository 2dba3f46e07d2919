"""Channels that lose the count of bits: insertions and deletions, markers, and resynchronisation."""

from codec.channels.timing.drift import DriftModel, bit_posteriors
from codec.channels.timing.insertion_deletion import InsertionDeletionChannel
from codec.channels.timing.markers import Markers

__all__ = ["DriftModel", "InsertionDeletionChannel", "Markers", "bit_posteriors"]
