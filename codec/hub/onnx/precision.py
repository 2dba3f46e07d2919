"""Smaller weights in an ONNX graph: float16 that is computed in float32, or int8 matrix products.

Only the networks of encoder and decoder change. Spectra and quantizer stay in float32, and so do inputs and outputs.
"""

import ast
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

NETWORKS = ("encoder", "decoder")  # attributes of the modules in `codec.hub.onnx.graphs`
FLOAT32_PARTS = ("encoder.spectrum", "decoder.synthesis")
SCOPES = "pkg.torch.onnx.name_scopes"  # what the exporter notes at each node: the modules that it comes from
LEAST_SIZE = 256  # numbers in a weight that is worth a conversion


def with_precision(model: Any, precision: str) -> Any:
    """The model with its weights in float32, float16 or int8; it may be changed."""
    if precision == "float16":
        store_float16(model)
    return quantize_int8(model) if precision == "int8" else model


def in_network(node: Any) -> bool:
    """Whether a node belongs to the network of an encoder or decoder, and not to its spectrum."""
    scopes = scopes_of(node)
    return len(scopes) > 1 and scopes[1] in NETWORKS and not set(FLOAT32_PARTS) & set(scopes)


def scopes_of(node: Any) -> list[str]:
    """Paths of the modules that a node comes from, outermost first; empty for a node that the exporter has added."""
    found = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "[]")
    return list(ast.literal_eval(found))


def store_float16(model: Any) -> None:
    """Store weights of the networks in float16, each behind a cast, which a runtime computes when it loads the file.

    Weights that float16 cannot hold stay as they are.
    """
    import onnx

    graph, casts = model.graph, []
    inside = _inputs(node for node in graph.node if in_network(node))
    outside = _inputs(node for node in graph.node if not in_network(node))
    for weight in graph.initializer:
        if weight.name not in inside - outside or weight.data_type != onnx.TensorProto.FLOAT or len(weight.dims) < 2:
            continue
        values = onnx.numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.size < LEAST_SIZE or not np.isfinite(half).all():
            continue
        name = weight.name
        weight.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}.float16"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.float16"], [name], to=onnx.TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])
    kept = [value for value in graph.value_info if value.name not in {cast.output[0] for cast in casts}]
    del graph.value_info[:]
    graph.value_info.extend(kept)


def quantize_int8(model: Any) -> Any:
    """The model with the networks' matrix products in integers, all other weights in float16.

    Weights get a scale for each output channel, activations one for the whole input, found while running.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    others = [node.name for node in model.graph.node if node.op_type == "MatMul" and not in_network(node)]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=others,
        )
        quantized = onnx.load(target)
    store_float16(quantized)
    return quantized


def _inputs(nodes: Iterable[Any]) -> set[str]:
    """Names of all that nodes read."""
    return {name for node in nodes for name in node.input}
