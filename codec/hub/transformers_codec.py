"""Published codecs from the transformers library as `NeuralCodec`s: EnCodec, DAC, Mimi, X-Codec 2 and NeuCodec."""

import importlib
import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from codec.checkpoints.building import ReadsFiles
from codec.codec import NeuralCodec
from codec.decoders.base import Decoder
from codec.encoders.base import Encoder
from codec.encoders.w2v_bert import import_transformers
from codec.errors import InvalidValue, UnreadableFile, first_line
from codec.hub import transformers_parts as parts
from codec.quantizers.base import Quantizer

HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
FILES = ("config.json", "preprocessor_config.json", "model*.safetensors", "model.safetensors.index.json")


class TransformersCodec(NeuralCodec, ReadsFiles):
    """A published codec, unchanged: its codes and its audio are those of the model's own `encode` and `decode`.

    The codes of T samples are the model's first ⌈T / hop_length⌉. NeuCodec itself drops a last frame that is not full;
    here its clips are padded with silence first. The parts always run without gradients, in evaluation mode and in
    float32, also after `train()` and under autocast. Where the model gives fewer than `hop_length` samples per frame,
    the decoder's last samples are silence.

    Args:
        source: local folder with `config.json` and `.safetensors` weights, as `save_pretrained` writes it, or a hub id
            such as `facebook/encodec_24khz`, of which the newest revision is fetched once and then cached.
        codebooks: keep only the first so many, which sets the bit-rate of EnCodec (75 Hz x 10 bits each), DAC and
            Mimi; all by default. X-Codec 2 and NeuCodec have one.

    Raises:
        UserError: transformers is missing, `source` holds no complete model of the five families, the model is
            EnCodec's 48 kHz stereo one, or `codebooks` is out of its range.
    """

    def __init__(self, source: str, *, codebooks: int | None = None) -> None:
        model, extractor = load_model(source)
        self._adopt(model, codebooks, extractor)

    @classmethod
    def wrap(cls, model: Any, codebooks: int | None = None, *, extractor: Any = None) -> "TransformersCodec":
        """Use a model that is built already; its parameters are frozen.

        Args:
            model: EncodecModel, DacModel, MimiModel, Xcodec2Model or NeuCodecModel.
            codebooks: as for the class.
            extractor: feature extractor of the last two; transformers' defaults where None.

        Raises:
            UserError: as for the class.
        """
        codec = cls.__new__(cls)
        codec._adopt(model, codebooks, extractor)
        return codec

    def train(self, mode: bool = True) -> "TransformersCodec":
        """Stay in evaluation mode for any `mode`: in training mode DAC's quantizer draws a random depth."""
        return super().train(False)

    def _adopt(self, model: Any, codebooks: int | None, extractor: Any) -> None:
        family = check_family(model.config.model_type, type(model).__name__)
        encoder, quantizer, decoder, sample_rate = family(model, codebooks, extractor)
        super().__init__(encoder, quantizer, decoder, sample_rate=sample_rate)
        self.requires_grad_(False).eval()


class Parts(NamedTuple):
    """The arguments of a `NeuralCodec`."""

    encoder: Encoder
    quantizer: Quantizer
    decoder: Decoder
    sample_rate: int


def encodec_parts(model: Any, codebooks: int | None, extractor: Any) -> Parts:
    """EnCodec for mono, unchunked audio, such as the 24 kHz model."""
    config = model.config
    if config.audio_channels != 1 or config.normalize or config.chunk_length_s is not None:
        raise InvalidValue(
            "EnCodec",
            f"of {config.audio_channels} channels, normalize {config.normalize} and chunk_length_s "
            f"{config.chunk_length_s}",
            "must be mono, not normalised and not chunked",
            "use facebook/encodec_24khz",
        )
    kept = count_codebooks(codebooks, config.num_quantizers, config.model_type)
    classes = parts.EncodecEncoder, parts.EncodecQuantizer, parts.FrozenDecoder
    return _residual_parts(model, kept, config.hop_length, classes)


def dac_parts(model: Any, codebooks: int | None, extractor: Any) -> Parts:
    """DAC at 16, 24 or 44.1 kHz."""
    kept = count_codebooks(codebooks, model.config.n_codebooks, model.config.model_type)
    classes = parts.DacEncoder, parts.DacQuantizer, parts.FrozenDecoder
    return _residual_parts(model, kept, model.config.hop_length, classes)


def mimi_parts(model: Any, codebooks: int | None, extractor: Any) -> Parts:
    """Mimi, whose first codebooks are semantic and always kept."""
    config = model.config
    if config.audio_channels != 1 or model.encoder is None or model.decoder is None:
        found = f"of {config.audio_channels} channels"
        raise InvalidValue("Mimi", found, "must be mono with encoder and decoder", "use kyutai/mimi")
    kept = count_codebooks(codebooks, config.num_quantizers, config.model_type, at_least=config.num_semantic_quantizers)
    classes = parts.MimiEncoder, parts.MimiQuantizer, parts.MimiDecoder
    return _residual_parts(model, kept, math.prod(config.upsampling_ratios) * config.latent_stride, classes)


def _residual_parts(
    model: Any,
    kept: int,
    hop: int,
    classes: tuple[type[parts.EncodecEncoder], type[parts.FrozenQuantizer], type[parts.FrozenDecoder]],
) -> Parts:
    encoder, quantizer, decoder = classes
    dim, sizes = model.config.hidden_size, [model.config.codebook_size] * kept
    return Parts(
        encoder(dim, hop, module=model.encoder),
        quantizer(dim, sizes, module=model.quantizer),
        decoder(dim, hop, module=model.decoder),
        model.config.sampling_rate,
    )


def xcodec2_parts(model: Any, codebooks: int | None, extractor: Any) -> Parts:
    """X-Codec 2 at 16 kHz."""
    config = model.config
    return _fsq_parts(model, codebooks, extractor, (config.sampling_rate, config.hop_length), pads=False)


def neucodec_parts(model: Any, codebooks: int | None, extractor: Any) -> Parts:
    """NeuCodec, 16 kHz in and 24 kHz out."""
    config = model.config
    return _fsq_parts(model, codebooks, extractor, (config.input_sampling_rate, config.encoder_hop_length), pads=True)


def _fsq_parts(
    model: Any, codebooks: int | None, extractor: Any, rate_and_hop: tuple[int, int], *, pads: bool
) -> Parts:
    config = model.config
    count_codebooks(codebooks, 1, config.model_type)
    rate, hop = rate_and_hop
    if extractor is None:
        extractor = import_transformers("A third-party codec").FEATURE_EXTRACTOR_MAPPING[type(config)]()
    dim, size = config.quantization_dim, math.prod(config.quantization_levels)
    return Parts(
        parts.XCodec2Encoder(model, hop, extractor=extractor, pads=pads),
        parts.XCodec2Quantizer(dim, [size], module=model.quantizer),
        parts.XCodec2Decoder(dim, config.hop_length, module=model.acoustic_decoder),
        rate,
    )


FAMILIES: dict[str, Callable[[Any, int | None, Any], Parts]] = {
    "encodec": encodec_parts,
    "dac": dac_parts,
    "mimi": mimi_parts,
    "xcodec2": xcodec2_parts,
    "neucodec": neucodec_parts,
}


def count_codebooks(codebooks: int | None, available: int, family: str, *, at_least: int = 1) -> int:
    """How many of the available codebooks to keep; an InvalidValue outside `at_least` … `available`."""
    if codebooks is not None and not at_least <= codebooks <= available:
        allowed = f"must lie between {at_least} and {available}, all that this {family} model has"
        raise InvalidValue("codebooks", codebooks, allowed, "leave it out to use all")
    return available if codebooks is None else codebooks


def check_family(model_type: Any, source: str) -> Callable[[Any, int | None, Any], Parts]:
    """The function that builds a family's parts; an UnreadableFile for a `model_type` of no family."""
    if model_type not in FAMILIES:
        allowed = f"is of model_type {model_type}"
        raise UnreadableFile(source, None, allowed, f"give a codec of {', '.join(FAMILIES)}")
    return FAMILIES[model_type]


def load_model(source: str) -> tuple[Any, Any]:
    """Read a model of one of the families in float32, and its feature extractor where the folder holds one.

    Raises:
        UserError: see `TransformersCodec`.
    """
    transformers = import_transformers("A third-party codec")
    with _quiet_transformers(source):
        folder = _folder(source)
        model_type = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    check_family(model_type, source)
    with _quiet_transformers(source):
        model, report = transformers.AutoModel.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # an error below, with the name of a weight
            output_loading_info=True,
        )
        lacking = sorted(report["missing_keys"]) + sorted(key for key, *_ in report["mismatched_keys"])
        if lacking:
            raise OSError(f"{len(lacking)} weights are missing or misshapen, {lacking[0]} among them")
        has_extractor = (folder / "preprocessor_config.json").is_file()
        return model, transformers.AutoFeatureExtractor.from_pretrained(folder) if has_extractor else None


def _folder(source: str) -> Path:
    """`source` where it is a folder; else the folder of the hub's files of that id, fetched or cached."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if not HUB_ID.fullmatch(source):
        raise OSError("there is no such folder")
    hub = importlib.import_module("huggingface_hub")
    return Path(hub.snapshot_download(source, allow_patterns=list(FILES)))


@contextmanager
def _quiet_transformers(source: str) -> Iterator[None]:
    """Silence transformers' messages and progress bars, and turn any error into an UnreadableFile of one sentence."""
    logging = importlib.import_module("transformers.utils.logging")
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except Exception as error:  # the hub, the readers and the models raise many kinds
        families = ", ".join(FAMILIES)
        raise UnreadableFile(
            "No codec can be read from",
            source,
            f"({first_line(error)})",
            "give a local folder, or a hub id within reach, with the config.json and .safetensors weights of "
            f"{families}",
        ) from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
