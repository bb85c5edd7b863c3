"""Vectors made elsewhere, and the laws of the two experts that read them."""

from dataclasses import replace

import pytest
import torch

from ple_study.experts.vectors import has_vector, vector_or_zero, vector_width
from tests.customers import SCHEMA, customers
from tests.experts.specs import VECTORS as SPECS
from tests.sizes import BATCH

each = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
OTHERS = [0, 2, 3, 4]  # customer 1 has no vector


def with_vectors(batch, change):
    vectors = {name: change(vector) for name, vector in batch.vectors.items()}
    return replace(batch, vectors=vectors)


@pytest.mark.parametrize("hole", [torch.nan, torch.inf])
def test_a_row_of_nan_is_no_vector_and_is_read_as_zeros(hole):
    batch = customers()
    assert has_vector(batch, "graph").tolist() == [i != 1 for i in range(BATCH)]
    found = vector_or_zero(batch, "graph")
    assert not found[1].any()
    assert torch.equal(found[OTHERS], batch.vectors["graph"][OTHERS])
    holed = batch.vectors["graph"].clone()
    holed[3, 2] = hole  # not half a vector either
    batch = replace(batch, vectors={"graph": holed})
    assert not has_vector(batch, "graph")[3]
    assert not vector_or_zero(batch, "graph")[3].any()


def test_an_unknown_vector_is_named():
    assert vector_width(SCHEMA, "hierarchy") == 6
    with pytest.raises(ValueError, match=r"vector 'grahp'.*hierarchy.*mean 'graph'"):
        vector_width(SCHEMA, "grahp")


@each
def test_a_spec_of_an_unknown_vector_or_field_is_refused(spec):
    with pytest.raises(ValueError, match=r"Unknown vector 'tree'"):
        replace(spec, vector="tree").build(SCHEMA)
    with pytest.raises(TypeError, match="widht"):
        type(spec)(widht=3)
    for wrong in ({"hidden": 0}, {"dim": 0}):
        with pytest.raises(ValueError, match="1 or more"):
            replace(spec, **wrong)


@each
def test_who_has_no_vector_is_finite_and_moves_nobody(spec):
    expert, batch = spec.build(SCHEMA), customers()
    assert expert.present(batch).tolist() == [i != 1 for i in range(BATCH)]
    found = expert(batch)
    assert found.isfinite().all()
    filled = with_vectors(batch, lambda x: x.nan_to_num(3.0))
    torch.testing.assert_close(expert(filled)[OTHERS], found[OTHERS])
    assert not torch.equal(expert(filled)[1], found[1])


@each
def test_every_parameter_and_every_number_gets_a_finite_gradient(spec):
    expert, batch = spec.build(SCHEMA), customers()
    read = batch.vectors[spec.vector].requires_grad_()
    draw = torch.Generator().manual_seed(0)
    answer = expert(batch)
    (answer * torch.randn(answer.shape, generator=draw)).sum().backward()
    for name, parameter in expert.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    assert read.grad.isfinite().all()
    assert read.grad[OTHERS].all()
    assert not read.grad[1].any()


@each
@pytest.mark.parametrize("size", [0.0, 1e-12, 1e6, 1e15])
def test_the_norm_is_that_of_every_expert_however_large_the_numbers(spec, size):
    expert = spec.build(SCHEMA)
    batch = with_vectors(customers(), lambda x: x * size)
    read = batch.vectors[spec.vector].requires_grad_()
    found = expert(batch)
    assert found.isfinite().all()
    if size <= 1e6:
        norms = torch.full((BATCH,), 8**0.5)
        torch.testing.assert_close(found.norm(dim=1), norms, atol=1e-2, rtol=0)
    found.square().sum().backward()
    assert read.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in expert.parameters())


@pytest.mark.plain
@each
def test_an_expert_compiles_and_exports(spec):
    expert, batch = spec.build(SCHEMA).eval(), customers()
    wanted = expert(batch)
    compiled = torch.compile(expert, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(batch), wanted)
    program = torch.export.export(expert, (batch,)).module()
    torch.testing.assert_close(program(batch), wanted)
