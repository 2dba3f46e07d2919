"""Makes the page on which one hears the channel: codecs as ONNX, clips and the runtime in one HTML file."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from callbacks.report.demo.clips import Clip
from callbacks.report.demo.runtime import Runtime
from codec.codec import NeuralCodec
from codec.errors import InvalidValue
from codec.quantizers.codes import code_bits

REPORT = "callbacks.report"  # the package of what several pages share
SCRIPTS = ("channel.js", "engine.js", "player.js", "spectrum.js", "drawing.js", "sounds.js", "page.js")


class Models(NamedTuple):
    """A codec's encoder and decoder as ONNX."""

    encoder: bytes
    decoder: bytes


class Assets:
    """What the page carries, compressed as base64 of gzip; what is there already is carried once."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def add(self, content: bytes, name: str = "") -> str:
        """The name under which the page finds a content, by default one made of its hash."""
        name = name or hashlib.sha256(content).hexdigest()[:12]
        if name not in self.texts:
            self.texts[name] = base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
        return name


def common_rate(codecs: Mapping[str, NeuralCodec]) -> int:
    """The sample rate in Hz of the input of all codecs; InvalidValue where they differ."""
    rates = {codec.sample_rate for codec in codecs.values()}
    if len(rates) > 1:
        found = ", ".join(f"{name} {codec.sample_rate} Hz" for name, codec in codecs.items())
        raise InvalidValue("The codecs of a page take one sample rate, not", found, remedy="make a page for each rate")
    return rates.pop()


def export(codec: NeuralCodec) -> Models:
    """The codec's two models with weights in half precision; raises as `codec.hub.onnx.export_onnx` does."""
    from codec.hub.onnx import export_onnx  # here: its packages are optional

    with tempfile.TemporaryDirectory() as folder:
        written = export_onnx(codec, folder, precision="float16")
        return Models(_bare(written.encode), _bare(written.decode))


def _bare(file: Path) -> bytes:
    """A model without the exporter's notes on its nodes: equal networks are equal files, and smaller ones."""
    import onnx

    model = onnx.load(str(file))
    for noted in (model, model.graph, *model.graph.node, *model.graph.value_info):
        del noted.metadata_props[:]
        noted.doc_string = ""
    return bytes(model.SerializeToString(deterministic=True))


def build(
    codecs: Mapping[str, NeuralCodec], clips: Sequence[Clip], runtime: Runtime, *, notes: Sequence[str] = ()
) -> str:
    """The page as HTML.

    Args:
        codecs: by the name that the page shows; the first is chosen at the start.
        clips: at the codecs' sample rate.
        runtime: runs the models.
        notes: sentences on the page, such as the attribution of clips and codecs.

    Raises:
        InvalidValue: the sample rates of the codecs differ.
    """
    rate = common_rate(codecs)
    assets = Assets()
    assets.add(runtime.script, "runtime")
    assets.add(runtime.wasm, "wasm")
    described = [_describe(name, codec, export(codec), assets) for name, codec in codecs.items()]
    sounds = [{"name": clip.name, "asset": assets.add(clip.samples.tobytes())} for clip in clips]
    content = {"rate": rate, "codecs": described, "clips": sounds}
    return _page(content, assets, version=runtime.version, notes=notes)


def _describe(name: str, codec: NeuralCodec, models: Models, assets: Assets) -> dict[str, Any]:
    sizes = [int(size) for size in codec.quantizer.codebook_sizes]
    books = f"{len(sizes)} codebooks of" if len(sizes) > 1 else "1 codebook of"
    entries = " and ".join(f"{size:,}" for size in dict.fromkeys(sizes))
    return {
        "name": name,
        "about": f"{books} {entries} entries; encoder {_millions(codec.encoder)}, decoder {_millions(codec.decoder)} "
        "parameters",
        "sizes": sizes,
        "widths": list(code_bits(sizes)),
        "frame_rate": codec.frame_rate,
        "output_rate": codec.output_sample_rate,
        "encoder": assets.add(models.encoder),
        "decoder": assets.add(models.decoder),
    }


def _millions(part: Any) -> str:
    return f"{sum(parameter.numel() for parameter in part.parameters()) / 1e6:.2g} million"


def _page(content: Mapping[str, Any], assets: Assets, *, version: str, notes: Sequence[str]) -> str:
    """The page; its Content-Security-Policy admits its own script and style by their hashes, and no network."""
    folder = files(__package__).joinpath("page")
    style = folder.joinpath("style.css").read_text(encoding="utf-8")
    scripts = [files(REPORT).joinpath("generator.js"), *map(folder.joinpath, SCRIPTS)]
    script = "\n".join(file.read_text(encoding="utf-8") for file in scripts)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(folder.joinpath("page.html").read_text(encoding="utf-8"))
    rates = {codec["frame_rate"] * sum(codec["widths"]) / 1000 for codec in content["codecs"]}
    return template.render(
        clips=content["clips"],
        codecs=content["codecs"],
        bit_rate=" or ".join(f"{rate:.2f}" for rate in sorted(rates)),
        nyquist=f"{content['rate'] / 2000:g}",
        rate_khz=f"{content['rate'] / 1000:g}",
        version=version,
        notes=notes,
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        worker=Markup(folder.joinpath("worker.js").read_text(encoding="utf-8")),
        content=Markup(json.dumps(content).replace("<", "\\u003c")),  # so that no name ends the script element
        assets=[(name, Markup(text)) for name, text in assets.texts.items()],
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
