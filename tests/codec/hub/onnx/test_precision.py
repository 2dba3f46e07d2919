"""float16 and int8 weights: smaller files of the same inputs and outputs, spectra and quantizer untouched."""

import numpy as np
import pytest
import torch

from codec import FSQ, RVQ, ConvNeXtBackbone, EMACodebook, NeuralCodec, SpectralEncoder, VocosDecoder
from codec.hub.onnx import export_onnx
from codec.hub.onnx.precision import in_network
from tests.codec.hub.onnx.test_files import run

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
HOP = 320


def larger_codec(quantizer) -> NeuralCodec:
    """Its weights are most of its files."""
    torch.manual_seed(0)
    decoder = VocosDecoder(ConvNeXtBackbone(32, 192, depth=1), HOP)
    return NeuralCodec(SpectralEncoder(32, HOP, width=192, depth=1), quantizer, decoder).eval()


@pytest.fixture(scope="module", params=["float16", "int8"])
def exported(request, tmp_path_factory):
    codec = larger_codec(RVQ(32, [EMACodebook(256, 32)]))
    folder = tmp_path_factory.mktemp("onnx")
    return codec, request.param, *(export_onnx(codec, folder / p, precision=p) for p in ("float32", request.param))


@pytest.mark.slow
def test_weights_are_smaller_and_outputs_near(exported):
    codec, precision, whole, small = exported
    audio = 0.3 * torch.randn(2, 1, 30 * HOP + 5)
    with torch.no_grad():
        codes = codec.encode(audio)
        wanted = codec.decode(codes)
    share = {"float16": 0.7, "int8": 0.5}[precision]
    assert small.decode.stat().st_size < share * whole.decode.stat().st_size
    assert small.encode.stat().st_size < whole.encode.stat().st_size
    decoded = run(small.decode, codes=codes, erased=torch.zeros_like(codes, dtype=torch.bool))
    assert decoded.dtype == torch.float32 and decoded.shape == wanted.shape
    error = (decoded - wanted).norm() / wanted.norm()
    assert 0 < error < {"float16": 2e-3, "int8": 0.1}[precision], "the weights have changed, and little"
    found = run(small.encode, audio=audio)
    assert (found == codes).float().mean() > {"float16": 0.97, "int8": 0.7}[precision]


@pytest.mark.slow
def test_spectra_and_quantizer_stay_in_float32(exported):
    _, precision, whole, small = exported
    before = {w.name: w for w in onnx.load(whole.encode).graph.initializer}
    model = onnx.load(small.encode)
    onnx.checker.check_model(model, full_check=True)
    array = onnx.numpy_helper.to_array
    after = {w.name: w for w in model.graph.initializer}
    kept = [name for name in before if name.startswith(("quantizer.", "encoder.spectrum."))]
    assert len(kept) > 4 and all(np.array_equal(array(after[name]), array(before[name])) for name in kept)
    changed = {w.name for w in after.values() if w.data_type in (onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8)}
    assert changed, precision


@pytest.mark.slow
def test_nodes_of_the_networks_are_told_apart(exported):
    *_, whole, _ = exported
    nodes = [node for path in (whole.encode, whole.decode) for node in onnx.load(path).graph.node]
    products = [node for node in nodes if node.op_type in ("MatMul", "Conv")]
    # Encoder: two convolutions, two layers of the block, and the last one; decoder: as many, its head the last one.
    assert sum(map(in_network, products)) == 10
    # Two products of each transform; distances to the entries. The widths agree: the quantizer has no projections.
    assert len(products) == 10 + 4 + 1


def test_weights_beyond_float16_stay(tmp_path):
    codec = larger_codec(FSQ(32, (4, 4)))
    codec.decoder.backbone.embed.weight.data[0, 0, 0] = 1e6
    files = export_onnx(codec, tmp_path, precision="float16")
    weights = {w.name: w.data_type for w in onnx.load(files.decode).graph.initializer}
    assert weights["decoder.backbone.embed.weight"] == onnx.TensorProto.FLOAT
    assert weights["decoder.backbone.blocks.0.depthwise.weight.float16"] == onnx.TensorProto.FLOAT16
