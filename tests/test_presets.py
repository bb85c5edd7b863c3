"""Both sizes of the whole model: what each part learns, and what a batch gets."""

from dataclasses import replace

import pytest
import torch

from ple_study.data.thread import TRANSFERS
from ple_study.data.world import Bank
from ple_study.export import example
from ple_study.presets import SMALL, STUDY
from ple_study.tasks.evidential import EvidentialSpec

# Spec section 26.1, but for what the parts' own sections resolve otherwise.
PARTS = {
    "unified_hgcn": 18_351,
    "perslay": 60_384,
    "deepfm": 172_928,
    "temporal": 337_711,
    "lightgcn": 20_864,
    "causal": 100_704,
    "optimal_transport": 98_400,
    "absent": 512,
    # private experts 1,453,056; gates without bias 65,536; the adapter 8,256
    "stage 1": 1_453_056 + 65_536 + 8_256,
    "stage 2": 57_456,
    "bridge": 64 * 32 + 32,
    "modes": 1_920,
    "basket": 355_328,
    "transfer": 6_624,
    "towers": 101_485,
    "evidence": 3_168,
}
SPECS = {"study": STUDY, "small": SMALL}


def test_each_part_learns_what_the_thread_counts() -> None:
    schema = Bank(10).schema
    model = replace(STUDY, evidential=EvidentialSpec()).build(schema)
    counts = model.parameter_counts()
    assert counts == PARTS
    learned = [p.numel() for p in model.parameters() if p.requires_grad]
    assert sum(counts.values()) == sum(learned) == 2_864_763


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_both_sizes_answer_sixteen_tasks(spec) -> None:
    schema = Bank(10, size="small").schema
    assert schema.transfers == TRANSFERS
    model = spec.build(schema).eval()
    with torch.no_grad():
        output = model(example(schema))
    assert len(output.logits) == 16
    assert [block.shape[1] for block in output.experts] == [128, *[64] * 6]
    assert sum(z.shape[1] for z in output.logits.values()) == 4 + 68 + 5 + 24


def test_the_small_one_is_smaller_and_has_the_same_parts() -> None:
    schema = Bank(10, size="small").schema
    large, small = (spec.build(schema).parameter_counts() for spec in (STUDY, SMALL))
    assert list(large) == list(small)
    assert all(small[part] <= large[part] for part in large)
    assert sum(small.values()) < 0.7 * sum(large.values())
