"""Opinions of listeners predicted by networks, from the degraded signal alone."""

from callbacks.metrics.opinion.distillmos import DistillMOS
from callbacks.metrics.opinion.dnsmos import DNSMOS
from callbacks.metrics.opinion.plcmos import PLCMOS
from callbacks.metrics.opinion.utmos import UTMOS

__all__ = ["DNSMOS", "PLCMOS", "UTMOS", "DistillMOS"]
