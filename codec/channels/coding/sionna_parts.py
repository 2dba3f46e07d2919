"""Sionna's encoders and decoders of 5G, imported at first use, without a trace in the state of the process.

Importing `sionna.phy` seeds PyTorch's global generators from the clock, which would break exact resume. Everything of
sionna that is used, its private names too, is in this module.
"""

import contextlib
import importlib
import io
import random
import sys
import warnings
from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from codec.errors import MissingDependency

REMEDY = "install it with pip install 'channel-robust-codecs[fec]' (Python 3.11 or newer)"
SETTINGS: dict[str, Any] = {"precision": "double", "device": "cpu"}  # of all its parts: nothing depends on its config


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Restores the global state: generators of PyTorch (of GPUs too), NumPy and Python, dtype, threads, filters.

    What is printed inside is dropped.
    """
    torch_state, numpy_state, python_state = torch.random.get_rng_state(), np.random.get_state(), random.getstate()
    gpu_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    dtype, threads, grad = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.random.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        if gpu_states is not None:
            torch.cuda.set_rng_state_all(gpu_states)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def sionna_module(name: str) -> ModuleType:
    """A module of `sionna.phy.fec` such as "ldpc"; the state of the process is as before.

    Raises:
        MissingDependency: sionna is not installed.
    """
    found = sys.modules.get(f"sionna.phy.fec.{name}")
    if found is not None:
        return found
    with undisturbed():
        try:
            return importlib.import_module(f"sionna.phy.fec.{name}")
        except ImportError as error:
            raise MissingDependency("5G LDPC and polar codes", None, "need sionna-no-rt", REMEDY) from error


class LDPCParts(NamedTuple):
    """Sionna's encoder and belief-propagation decoder of one LDPC code."""

    encoder: Any
    decoder: Any

    def encode(self, bits: Tensor) -> Tensor:
        """uint8 `[B, k]` to uint8 `[B, n]`."""
        return self.encoder(bits.double()).to(torch.uint8)

    def decode(self, llrs: Tensor) -> Tensor:
        """log P(0)/P(1) of channel bits, float64 `[B, n]`, to those of payload bits `[B, k]`."""
        return -self.decoder(-llrs)  # its ratios are of a one


@lru_cache(maxsize=16)
def ldpc_parts(payload: int, coded: int, iterations: int) -> LDPCParts:
    """Encoder and decoder of the 5G LDPC code of `payload` bits in `coded` bits (3GPP TS 38.212, 5.3.2 and 5.4.2)."""
    ldpc = sionna_module("ldpc")
    with undisturbed(), torch.no_grad():
        encoder = ldpc.LDPC5GEncoder(payload, coded, **SETTINGS)
        decoder = ldpc.LDPC5GDecoder(encoder, hard_out=False, num_iter=iterations, **SETTINGS)
    return LDPCParts(encoder, decoder)


class PolarList(NamedTuple):
    """What a list decoder leaves, the most likely first.

    Attributes:
        payloads: uint8 `[B, L, k]`.
        metrics: −log of the paths' probabilities, up to a summand of the row, float64 `[B, L]`.
        checks: bool `[B, L]`, True where the CRC agrees.
    """

    payloads: Tensor
    metrics: Tensor
    checks: Tensor


class PolarParts(NamedTuple):
    """Sionna's encoder and successive-cancellation list decoder of one polar code."""

    encoder: Any
    decoder: Any

    def encode(self, bits: Tensor) -> Tensor:
        """uint8 `[B, k]` to uint8 `[B, n]`."""
        return self.encoder(bits.double()).to(torch.uint8)

    def decode(self, llrs: Tensor) -> PolarList:
        """log P(0)/P(1) of channel bits, float64 `[B, n]`, to the paths in the list."""
        self.decoder(-llrs)  # its ratios are of a one
        bits, metrics = self.decoder.polar_dec.__dict__.pop("kept")
        words = bits[..., torch.from_numpy(np.sort(self.decoder.polar_dec.info_pos)).long()]  # [B, 2L, k + CRC]
        payloads = words[..., : self.encoder.k_target].double()
        checked = self.encoder.enc_crc(payloads)
        return PolarList(payloads.to(torch.uint8), metrics.double(), (checked == words).all(-1))


@lru_cache(maxsize=16)
def polar_parts(payload: int, coded: int, list_size: int) -> PolarParts:
    """Encoder and list decoder of the 5G uplink polar code with its CRC (3GPP TS 38.212, 6.3.1 and 5.3.1).

    The list and its metrics are not part of the decoder's result: they are kept when its `_decode` returns.
    """
    polar = sionna_module("polar")
    with undisturbed(), torch.no_grad():
        encoder = polar.Polar5GEncoder(payload, coded, **SETTINGS)
        decoder = polar.Polar5GDecoder(encoder, dec_type="SCL", list_size=list_size, **SETTINGS)
    inner = decoder.polar_dec
    decode = inner._decode

    def keeping(llrs: Tensor) -> tuple[Tensor, Tensor]:
        found = decode(llrs)
        inner.__dict__["kept"] = found
        return found

    inner.__dict__["_decode"] = keeping
    return PolarParts(encoder, decoder)
