"""Codecs as ONNX files, for onnxruntime and ONNX Runtime Web, and as programs of `torch.export`."""

from codec.hub.onnx.programs import export_program
from codec.hub.onnx.writing import PRECISIONS, OnnxFiles, Precision, export_onnx

__all__ = ["PRECISIONS", "OnnxFiles", "Precision", "export_onnx", "export_program"]
