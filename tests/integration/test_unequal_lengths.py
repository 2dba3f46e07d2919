"""Every configuration's codec and the pretrained ones: in a batch of 16 clips of 1 to 10 s each has its own codes."""

import json
from typing import Any

import pytest
import torch

from codec import NeuralCodec, load_codec
from tests.integration.test_command_line import ALL, BASES
from tests.integration.test_matched_configs import layered
from tests.support.building import build
from tests.support.unequal import check_alone

LENGTHS = [round(16_000 * (1 + 9 * k / 15)) + 37 * k for k in (3, 15, 0, 7, 11, 1, 14, 5, 9, 2, 13, 6, 10, 4, 12, 8)]
TEACHERS = {  # where a configuration names a checkpoint
    "student.yaml": "fsq.yaml",
    "small/quickstart_student.yaml": "quickstart.yaml",
    "small/student.yaml": "small/fsq.yaml",
    "paper/distill_neucodec.yaml": "paper/neucodec.yaml",
}
LAYERS = BASES | {
    f"paper/{name}.yaml": [f"paper/{base}.yaml"]
    for name, base in (("neucodec_released", "neucodec"), ("no_semantic", "neucodec"))
}
NARROWER: dict[str, dict[str, Any]] = {  # arguments of parts too wide for a test
    "codec.AcousticEncoder": {"width": 2},
    "codec.TransformerBackbone": {"width": 256, "depth": 2, "heads": 4},
    "codec.W2VBertEncoder": {
        "pretrained": None, "layers": 2,
        "config": {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48, "output_hidden_size": 32},
    },
    "codec.StudentEncoder": {"widths": [4, 8, 16, 32]},
    "codec.HubertEncoder": {"pretrained": None, "layers": 1, "width": 32, "heads": 2, "channels": 8},
}  # fmt: skip


def narrowed(block: Any) -> Any:
    if isinstance(block, list):
        return [narrowed(item) for item in block]
    if not isinstance(block, dict):
        return block
    found = {key: narrowed(value) for key, value in block.items()}
    if found.get("class_path") in NARROWER:
        found["init_args"] = found.get("init_args", {}) | NARROWER[found["class_path"]]
    return found


def codec_block(config: str) -> dict[str, Any] | None:
    """How to build the codec of a configuration; None where it names a file of one."""
    names = [name.removesuffix(".yaml") for name in (*LAYERS.get(config, []), config)]
    model = layered(names).get("model", {}).get("init_args", {})
    if config in TEACHERS:
        teacher = codec_block(TEACHERS[config])
        assert teacher is not None
        return {**teacher, "init_args": {**teacher["init_args"], "encoder": model["encoder"]}}
    return model.get("codec")


def cases() -> list[Any]:
    """Each different codec once, under the first configuration that has it."""
    found: dict[str, str] = {}
    for config in ALL:
        block = codec_block(config)
        if block is not None:
            found.setdefault(json.dumps(narrowed(block), sort_keys=True), config)
    return [pytest.param(json.loads(block), id=config) for block, config in found.items()]


CASES = cases()


def test_every_configuration_takes_part():
    """The rest names the files of trained codecs."""
    without = {config for config in ALL if codec_block(config) is None}
    assert without == {config for config in without if config.startswith("evaluate/")} | {"small/concealment.yaml"}
    assert len(CASES) >= 15


@pytest.mark.slow
@pytest.mark.parametrize("block", CASES)
def test_a_batch_has_the_codes_of_each_clip_alone(block):
    if "W2VBert" in json.dumps(block) or "Hubert" in json.dumps(block):
        pytest.importorskip("transformers")
    torch.manual_seed(0)
    codec = build(narrowed(block), NeuralCodec).eval()
    check_alone(codec, LENGTHS, spare=777)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small_fsq", "small_rvq", "small_student", "small_fsq_aware"])
def test_a_batch_has_the_codes_of_each_clip_alone_in_pretrained_codecs(name):
    check_alone(load_codec(name), LENGTHS, spare=777, distinct=50)
