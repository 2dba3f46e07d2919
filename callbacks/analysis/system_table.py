"""The table of codec papers: what each system sends, costs and delays, and how it scores without channel errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.analysis.cost import PartCost, check_measurement, codec_costs
from callbacks.channel.evaluation import ChannelEvaluation
from callbacks.channel.tables import aligned, mean_text, score_notes
from callbacks.metrics import SpeechMetric
from callbacks.metrics.base import decimals
from callbacks.output.files import completed, write_csv
from callbacks.output.loggers import log_folder, print_report, show_table
from callbacks.scoring.scores import ChannelRow, stated_clips
from codec.codec import NeuralCodec
from codec.decoders.base import Decoder
from codec.encoders.base import Encoder
from codec.errors import InvalidValue
from codec.hub.transformers_parts import FrozenDecoder, FrozenEncoder
from codec.layers.streaming import obstacle
from codec.training.comparison_module import evaluated_systems

FROZEN = (FrozenEncoder, FrozenDecoder)  # of published codecs


class SystemFacts(NamedTuple):
    """What a system sends, costs and delays; NaN where it is not known, infinite delay where it takes the whole clip.

    Look-ahead is that of receptive fields in whole frames: delays are at most these.

    Attributes:
        system: its name.
        bit_rate: bits a second on the channel, parity included.
        coded_bit_rate: of the codes behind an adaptive arithmetic coder.
        frame_rate: frames a second.
        parameters: of encoder, quantizer and decoder.
        encoder_macs: multiply-accumulates a second of encoder and quantizer, by `count_macs`.
        decoder_macs: of the decoder.
        encoder_real_time: computing time over duration of encoder and quantizer, here.
        decoder_real_time: of the decoder.
        encoder_latency_ms: a frame and the encoder's look-ahead.
        decoder_latency_ms: the decoder's look-ahead, and the delay of the link.
    """

    system: str
    bit_rate: float
    coded_bit_rate: float
    frame_rate: float
    parameters: int
    encoder_macs: float
    decoder_macs: float
    encoder_real_time: float
    decoder_real_time: float
    encoder_latency_ms: float
    decoder_latency_ms: float


class SystemTable(Callback):
    """After `test`, one table of all systems: rates, parameters, cost, latency and the scores without channel errors.

    Takes the scores of the trainer's `ChannelEvaluation` behind its first channel without errors, prints the table, and
    writes `systems.csv` (all figures, with intervals) and `systems.md` (Markdown) into the log folder. Latencies are
    those of the algorithm: what must have arrived before a frame can be coded and heard, without computing time; "clip"
    where a part takes the whole clip. Real-time factors are of rank 0's device, in float32.

    Args:
        seconds: duration of the clip of noise on which costs are measured.
        repeats: timings of each part; 0 to time nothing.

    Raises:
        InvalidValue: `seconds` is not above 0, or `repeats` negative; in `test`, there is no `ChannelEvaluation`, or
            none of its channels is without errors.
    """

    def __init__(self, seconds: float = 4.0, *, repeats: int = 5) -> None:
        check_measurement(seconds, repeats)
        self.seconds, self.repeats = seconds, repeats
        self.facts: list[SystemFacts] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "test":
            _clean_channel(_evaluation(trainer))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        evaluation = _evaluation(trainer)
        folder = log_folder(trainer)
        if not trainer.is_global_zero or not evaluation.results:
            return
        channel = _clean_channel(evaluation)
        rows: dict[str, dict[str, ChannelRow]] = {}
        for row in evaluation.results:
            if row.channel == channel:
                rows.setdefault(row.codec, {})[row.metric] = row
        systems = evaluated_systems(pl_module, evaluation.link)[0]
        codecs = {id(system.codec): (system.name, system.codec) for system in reversed(systems)}
        costs = codec_costs(dict(codecs.values()), seconds=self.seconds, repeats=self.repeats)
        by_codec = {name: {cost.part: cost for cost in costs if cost.codec == name} for name, _ in codecs.values()}
        self.facts = [
            _facts(s.name, s.codec, by_codec[codecs[id(s.codec)][0]], next(iter(rows[s.name].values())))
            for s in systems
            if s.name in rows
        ]
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(folder / "systems.csv", _records(self.facts, rows))
        show_table(trainer, "systems", self.facts, step=trainer.global_step)
        table = _cells(self.facts, rows, evaluation.metrics)
        with completed(folder / "systems.md") as partial:
            partial.write_text(_markdown(table), encoding="utf-8")
        first = next(iter(next(iter(rows.values())).values()))
        title = f"Systems without channel errors, mean over {stated_clips(first.clips, first.speakers)}"
        clean = [row for found in rows.values() for row in found.values()]
        notes = [
            f"Cost on a clip of {self.seconds:g} s; latency of the algorithm, without computing time.",
            *score_notes(clean, evaluation.metrics),
        ]
        print_report("\n".join([title, *aligned(table, left=1), *notes]))


def _evaluation(trainer: Trainer) -> ChannelEvaluation:
    found = [callback for callback in getattr(trainer, "callbacks", []) if isinstance(callback, ChannelEvaluation)]
    if not found:
        raise InvalidValue("SystemTable", None, "needs a ChannelEvaluation", "add callbacks.ChannelEvaluation")
    return found[0]


def _clean_channel(evaluation: ChannelEvaluation) -> str:
    """The name of the first channel without errors."""
    clean = [channel.name for channel in evaluation.channels if channel.error_rate == 0]
    if not clean:
        stated = [channel.name for channel in evaluation.channels]
        raise InvalidValue(
            "the channels of a SystemTable", stated, "hold none without errors", "add 0.0 to bit_error_rates"
        )
    return clean[0]


def _facts(name: str, codec: NeuralCodec, costs: Mapping[str, PartCost], row: ChannelRow) -> SystemFacts:
    encoding = [costs["encoder"], costs["quantizer"]]
    ahead, behind = (_look_ahead(part) for part in (codec.encoder, codec.decoder))
    return SystemFacts(
        name,
        bit_rate=row.bit_rate,
        coded_bit_rate=row.coded_bit_rate,
        frame_rate=codec.frame_rate,
        parameters=costs["codec"].parameters,
        encoder_macs=sum(cost.macs_per_second for cost in encoding),
        decoder_macs=costs["decoder"].macs_per_second,
        encoder_real_time=sum(cost.real_time_factor for cost in encoding),
        decoder_real_time=costs["decoder"].real_time_factor,
        encoder_latency_ms=1000 * (1 + ahead) / codec.frame_rate,
        decoder_latency_ms=1000 * behind / codec.frame_rate + row.delay_ms,
    )


def _look_ahead(part: Encoder | Decoder) -> float:
    """Frames that must follow a frame; infinite where all do, NaN of another package's part, which does not say.

    Of a decoder that streams, parts of a frame count (`NeuralCodec.streaming_decoder`).
    """
    if isinstance(part, Decoder) and not obstacle(part):
        return part.lookahead / part.hop_length
    field = part.receptive_field
    if field is not None:
        return field[1]
    return math.nan if getattr(part, "is_external", False) or isinstance(part, FROZEN) else math.inf


def _cells(
    facts: Sequence[SystemFacts], rows: Mapping[str, Mapping[str, ChannelRow]], metrics: Sequence[SpeechMetric]
) -> list[list[str]]:
    """Head and lines as text."""
    head = ["system", "kbit/s", "coded kbit/s", "frames/s", "M parameters", "MMAC/s enc", "MMAC/s dec"]
    head += ["RTF enc", "RTF dec", "latency enc (ms)", "latency dec (ms)", *(m.label_with_unit for m in metrics)]
    table = [head]
    for fact in facts:
        scores = (_score(rows[fact.system][metric.name]) for metric in metrics)
        table.append([
            fact.system or "codec",
            _number(fact.bit_rate / 1000, ".3g"),
            _number(fact.coded_bit_rate / 1000, ".3g"),
            _number(fact.frame_rate, ".4g"),
            _number(fact.parameters / 1e6, ".2f"),
            *(_number(macs / 1e6, ",.0f") for macs in (fact.encoder_macs, fact.decoder_macs)),
            *(_number(time, ".2g") for time in (fact.encoder_real_time, fact.decoder_real_time)),
            *(_number(delay, ".0f") for delay in (fact.encoder_latency_ms, fact.decoder_latency_ms)),
            *scores,
        ])  # fmt: skip
    return table


def _number(value: float, form: str) -> str:
    return "clip" if math.isinf(value) else "–" if math.isnan(value) else format(value, form)


def _score(row: ChannelRow) -> str:
    text = mean_text(row, decimals(row.unit))
    return f"{text} [{row.unscorable}]" if row.unscorable else text


def _markdown(table: Sequence[Sequence[str]]) -> str:
    head, *lines = ([cell.replace("|", "&#124;") for cell in line] for line in table)
    rule = ["---", *(["---:"] * (len(head) - 1))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines)) + "\n"


class _Record(NamedTuple):
    """A line of systems.csv: a fact or a score of a system, a score with its interval and its missing draws."""

    system: str
    figure: str
    value: float
    low: float
    high: float
    unit: str
    unscorable: int


def _records(facts: Sequence[SystemFacts], rows: Mapping[str, Mapping[str, ChannelRow]]) -> list[_Record]:
    units = {"bit_rate": "bit/s", "coded_bit_rate": "bit/s", "frame_rate": "Hz"}
    units |= {"encoder_latency_ms": "ms", "decoder_latency_ms": "ms", "encoder_macs": "1/s", "decoder_macs": "1/s"}
    found = []
    for fact in facts:
        for name, value in fact._asdict().items():
            if name != "system":
                found.append(_Record(fact.system, name, value, math.nan, math.nan, units.get(name, ""), 0))
        for row in rows[fact.system].values():
            score = row.metric, row.mean, row.low, row.high, row.unit, row.unscorable
            found.append(_Record(fact.system, *score))
    return found
