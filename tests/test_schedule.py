import math

import pytest

from schedule import SHAPES, eaai_probability

FADING = [shape for shape in SHAPES if shape != "constant"]


@pytest.mark.parametrize("shape", FADING)
@pytest.mark.parametrize("fade", [0.01, 0.3, 0.55, 0.8, 1.0])
@pytest.mark.parametrize("start, end", [(1.0, 0.0), (0.9, 0.1), (0.2, 0.7)])
def test_the_fade_begins_at_exactly_start_and_is_exactly_end_once_it_is_over(shape, fade, start,
                                                                             end):
    assert eaai_probability(0, 100, shape, start, end, fade) == start
    for step in range(round(100 * fade), 101):
        assert eaai_probability(step, 100, shape, start, end, fade) == end


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("total, fade", [(1, 1.0), (7, 0.5), (100, 0.8), (100, 0.0)])
def test_the_probability_never_rises_on_its_way_down_nor_falls_on_its_way_up(shape, total, fade):
    down = [eaai_probability(t, total, shape, 1.0, 0.0, fade) for t in range(2 * total)]
    up = [eaai_probability(t, total, shape, 0.1, 0.9, fade) for t in range(2 * total)]
    assert down == sorted(down, reverse=True) and up == sorted(up)
    assert all(0.0 <= p <= 1.0 for p in down) and all(0.1 <= p <= 0.9 for p in up)


def test_the_cosine_is_the_papers():
    for t in range(80):
        cosine = (1 + math.cos(math.pi * t / 80)) / 2
        assert eaai_probability(t, 100) == pytest.approx(cosine, abs=1e-12)
        assert eaai_probability(t, 100, "linear") == pytest.approx(1 - t / 80, abs=1e-12)
    assert eaai_probability(40, 100, start=0.8, end=0.2) == pytest.approx(0.5)


def test_cosine_linear_and_step_show_routes_equally_often():
    for shape in FADING:
        shown = sum(eaai_probability(t + 0.5, 1000, shape) for t in range(1000))
        assert shown == pytest.approx(400)
    assert {eaai_probability(t, 100, "step") for t in range(40)} == {1.0}
    assert {eaai_probability(t, 100, "step") for t in range(40, 100)} == {0.0}


def test_a_constant_schedule_never_fades_and_a_fade_of_no_length_is_over_at_once():
    for fade in (0.0, 0.5, 1.0):
        assert {eaai_probability(t, 10, "constant", 0.4, 0.0, fade) for t in range(20)} == {0.4}
    for shape in FADING:
        assert {eaai_probability(t, 10, shape, fade=0.0) for t in range(10)} == {0.0}


@pytest.mark.parametrize("bad", [
    dict(shape="cosin"), dict(step=-1), dict(total_steps=0), dict(start=1.1), dict(end=-0.1),
    dict(fade=1.5), dict(start=float("nan"))])
def test_a_schedule_that_makes_no_sense_is_refused(bad):
    with pytest.raises(ValueError):
        eaai_probability(**{"step": 0, "total_steps": 10, **bad})
