"""Schemas and specs from JSON: read back as they were, or refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ple_study.baselines import SharedBottomSpec
from ple_study.checkpoint import spec_from_json, spec_to_json
from ple_study.experts.mlp import MLPSpec
from ple_study.schema import Schema
from tests.data.whole import SCHEMA as WHOLE
from tests.fuzz.strategies import JSON, Refused, cases, damaged, tried
from tests.models import built, customers
from tests.studies import SCHEMA
from tests.test_checkpoint import WHOLE as SPEC

pytestmark = pytest.mark.plain
SMALL = SharedBottomSpec(trunk=MLPSpec(dims=(3,)), tower=MLPSpec(dims=()))


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


SCHEMAS = [plain(schema.to_json()) for schema in (SCHEMA, WHOLE)]


@cases(20, 2000)
@given(st.one_of(JSON, *map(damaged, SCHEMAS)))
def test_a_schema_is_read_back_or_refused(data: Any) -> None:
    schema = tried(Schema.from_json, data)
    if not isinstance(schema, Refused):
        assert Schema.from_json(plain(schema.to_json())) == schema
        assert hash(schema) == hash(Schema.from_json(plain(schema.to_json())))


@cases(10, 1000)
@given(damaged(SCHEMAS[0]))
def test_a_schema_that_was_read_builds_a_model_that_answers(data: Any) -> None:
    schema = tried(Schema.from_json, data)
    if isinstance(schema, Refused) or any(
        size > 1000 for t in schema.tasks for size in (t.classes, t.dim)
    ):
        return
    if any(f.dim > 1000 for f in schema.features):
        return
    if any(abs(x) > 1e30 for task in schema.tasks for x in task.scale):
        return  # beyond float32
    model = tried(built, SMALL, schema)
    if not isinstance(model, Refused):
        logits = model(customers(schema)).logits
        assert {k: v.shape[1] for k, v in logits.items()} == {
            task.name: task.outputs for task in schema.tasks
        }
        assert all(z.isfinite().all() for z in logits.values())


@cases(10, 1500)
@given(st.one_of(JSON, damaged(plain(spec_to_json(SPEC)))))
def test_a_spec_is_read_back_or_refused(data: Any) -> None:
    spec = tried(spec_from_json, data)
    if not isinstance(spec, Refused):
        again = spec_from_json(plain(spec_to_json(spec)))
        assert repr(spec_to_json(again)) == repr(spec_to_json(spec))  # NaN is not NaN
