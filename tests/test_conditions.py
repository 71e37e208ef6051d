"""results/conditions.py: a rule that says, before any training, whether routes leave something."""
import random

import pytest

from realm import Route
from results.conditions import (
    conditions, conditions_of, main, second_verdict, shown_prompts, verdict)

PRICES = {"tea": 40, "jam": 25}
ITEMS = ["tea", "jam"]


def a_route(tea, jam):
    """A route of an order of one tea and one jam."""
    text = f"tea @{tea} x 1 = {tea} sum {tea}; jam @{jam} x 1 = {jam} sum {tea + jam}; total " \
           f"{tea + jam}."
    return Route(text, str(tea + jam), (tea, jam) == (40, 25))


def test_two_wrong_routes_can_hold_every_right_price():
    found = conditions([(ITEMS, [a_route(40, 99), a_route(99, 25)])], PRICES)
    # Two prices, each in one of two routes: a copy and a vote find both by chance.
    assert found == {"coverage": 1, "possible": 1, "copying": 0.25, "voting": 0.25}


def test_a_price_that_no_route_knows_makes_a_right_answer_impossible():
    found = conditions([(ITEMS, [a_route(40, 99), a_route(40, 98)])], PRICES)
    assert found == {"coverage": 0.5, "possible": 0, "copying": 0, "voting": 0}


def test_copying_is_the_better_of_two_ways_to_copy():
    whole = conditions([(ITEMS, [a_route(40, 25), a_route(99, 98)])], PRICES)
    assert whole["copying"] == 0.5  # a whole route; single prices give 0.25
    single = conditions([(ITEMS, [a_route(40, 99), a_route(40, 98), a_route(99, 25)])], PRICES)
    assert single["copying"] == round(2 / 3 * 1 / 3, 3)  # no whole route is right


def test_a_vote_is_of_each_price_and_not_of_whole_routes():
    routes = [a_route(40, 99), a_route(40, 98), a_route(97, 25), a_route(96, 25)]
    found = conditions([(ITEMS, routes)], PRICES)
    assert found["voting"] == 1 and found["copying"] == 0.25
    misled = conditions([(ITEMS, [a_route(40, 25), a_route(99, 25), a_route(99, 25)])], PRICES)
    assert misled["voting"] == 0 and misled["copying"] == pytest.approx(1 / 3, abs=1e-3)


@pytest.mark.parametrize("q, k", [(0.2, 3), (0.5, 2), (0.8, 1)])
def test_a_teacher_of_chance_has_the_closed_forms(q, k):
    rng = random.Random(0)

    def price(item):
        return PRICES[item] if rng.random() < q else 99

    prompts = [(ITEMS, [a_route(price("tea"), price("jam")) for _ in range(k)])
               for _ in range(8000)]
    found = conditions(prompts, PRICES)
    assert found["coverage"] == pytest.approx(1 - (1 - q) ** k, abs=0.015)
    assert found["possible"] == pytest.approx((1 - (1 - q) ** k) ** 2, abs=0.015)
    assert found["copying"] == pytest.approx(q ** 2, abs=0.015)
    majority = 3 * q ** 2 - 2 * q ** 3 if k == 3 else q  # all wrong routes state the same price
    assert found["voting"] == pytest.approx(majority ** 2, abs=0.015)


def test_the_rule_needs_both_conditions():
    assert verdict({"possible": 0.05, "copying": 0.0}) == "nothing"
    assert verdict({"possible": 0.9, "copying": 0.5}) == "nothing"
    assert verdict({"possible": 0.2, "copying": 0.2}) == "nothing"  # one route: nothing to gain
    assert verdict({"possible": 0.2, "copying": 0.05}) == "open"
    assert verdict({"possible": 0.9, "copying": 0.35}) == "open"


def test_the_second_rule_forbids_an_easy_vote():
    assert second_verdict({"possible": 0.9, "copying": 0.36, "voting": 0.36}) == "stays"
    assert second_verdict({"possible": 0.9, "copying": 0.36, "voting": 0.55}) == "nothing"
    assert second_verdict({"possible": 0.9, "copying": 0.41, "voting": 0.2}) == "nothing"
    assert second_verdict({"possible": 0.08, "copying": 0.09, "voting": 0.08}) == "nothing"
    assert second_verdict({"possible": 0.29, "copying": 0.1, "voting": 0.1}) == "open"
    assert second_verdict({"possible": 0.31, "copying": 0.1, "voting": 0.1}) == "stays"
    assert second_verdict({"possible": 0.9, "copying": 0.1, "voting": 0.53}) == "stays"
    assert second_verdict({"possible": 0.5, "copying": 0.1, "voting": 0.48}) == "nothing"


def test_it_reads_the_prompts_that_train_would_draw():
    for _, routes in shown_prompts("--teacher-error 0.3 --n 16 --error-ratio 1", draws=1):
        assert len(routes) == 3 and not any(route.correct for route in routes)
    one = conditions_of(shown_prompts("--teacher-error 0.5 --routes 1"))
    assert one["possible"] == pytest.approx(one["copying"], abs=0.02)  # nothing to put together
    # 0.5 ** 2 and 0.5 ** 3, for half of the orders each.
    assert one["copying"] == pytest.approx(0.1875, abs=0.03)


def test_a_run_without_routes_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr("sys.argv", ["conditions", "--method", "grpo"])
    with pytest.raises(SystemExit, match="^conditions: .*no prompt carries routes$"):
        main()
