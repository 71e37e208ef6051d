import itertools
import json
import random
import re
from collections import Counter, defaultdict
from statistics import mean

import pytest

import data
from data import load_problems, make_routes, read_bank
from realm import demonstration, parse_response
from results import market_orders
from rewards import final_answer
from tasks import market, warmup

LIMITS = {"train": 1500, "validation": 300, "test": 300, "ood": 300}
SPLITS = {split: market.problems(split, limit) for split, limit in LIMITS.items()}
EVERY = [problem for split in SPLITS.values() for problem in split]
PRICE = re.compile(r"A (\w+ of \w+) costs (\d+) dollars, so (\d) (\w+) costs? (\d+) dollars\.")
BANK = warmup.bank(400)
FIRST_QUESTION = ("On Monday Kate buys 2 jars of honey and 3 bags of rice at the market. "
                  "How much does Kate pay in dollars?")
FIRST_ROUTE = ("A jar of honey costs 2 dollars, so 2 jars cost 4 dollars. "
               "A bag of rice costs 4 dollars, so 3 bags cost 12 dollars. "
               "Altogether that is 4 + 12 = 16 dollars.")


def check_sums(text):
    """Every sentence of a route is true under the prices that the route itself states."""
    amounts = []
    for item, price, quantity, containers, amount in PRICE.findall(text):
        assert market.counted(int(quantity), item).startswith(f"{quantity} {containers} of ")
        assert int(amount) == int(quantity) * int(price)
        amounts.append(amount)
    last = f"Altogether that is {' + '.join(amounts)} = {sum(map(int, amounts))} dollars."
    assert text.endswith(last) if len(amounts) > 1 else "Altogether" not in text


def prices_of(text):
    return {item: int(price) for item, price, *_ in PRICE.findall(text)}


def test_a_route_adds_up_and_ends_with_its_answer():
    taught = make_routes(EVERY[::4], market.teacher(), 3)
    for route in [route for problem in taught + BANK for route in problem.routes]:
        check_sums(route.text)
        assert route.answer == final_answer(route.text)


def test_the_gold_answer_follows_the_true_prices_and_the_rules_state_them():
    for problem in EVERY:
        order = market.read_order(problem.question)
        assert int(problem.answer) == sum(n * market.PRICES[item] for n, item in order)
        told = [re.fullmatch(r"A (.*) costs (\d+) dollars\.", rule) for rule in problem.rules]
        assert [(t[1], int(t[2])) for t in told] == [(i, market.PRICES[i]) for _, i in order]


def test_an_order_of_one_item_reads_as_people_write():
    assert market.ask([(2, "jar of honey")], "Ann", "Monday") == (
        "On Monday Ann buys 2 jars of honey at the market. How much does Ann pay in dollars?")


def test_no_two_splits_share_a_question_or_an_order():
    assert len({problem.question for problem in EVERY}) == len(EVERY)
    orders = [{market.order_in_words(market.read_order(p.question)) for p in split}
              for split in SPLITS.values()]
    assert all(not a & b for a, b in itertools.combinations(orders, 2))
    assert [len(o) for o in orders[:3]] == [135, 17, 18]
    sizes = Counter(len(market.read_order(p.question)) for p in SPLITS["train"])
    assert set(sizes) == {1, 2} and min(sizes.values()) > 0.4 * sizes.total()
    assert all(len(market.read_order(p.question)) == 3 for p in SPLITS["ood"])


def test_every_price_is_needed_in_every_split():
    for split in SPLITS.values():
        asked = Counter(item for p in split for _, item in market.read_order(p.question))
        assert set(asked) == set(market.PRICES) and min(asked.values()) > 30


def test_a_bank_of_the_market_is_split_as_the_market_is():
    bank = load_problems("market", "all", 500)
    for split in ("train", "validation", "test"):
        orders = {market.order_in_words(market.read_order(p.question))
                  for p in data.split_by_question(bank, split)}
        own = {market.order_in_words(market.read_order(p.question)) for p in SPLITS[split]}
        assert len(orders) > 10 and orders <= own


def test_the_market_refuses_more_questions_than_it_has():
    for split, most in market.MOST.items():
        assert len(market.problems(split, most)) == most >= market.SIZES[split]
        with pytest.raises(ValueError, match=f"{most + 1} .* market has only {most}"):
            load_problems("market", split, most + 1)


def test_the_streams_are_fixed():
    assert SPLITS["train"][:100] == market.problems("train", 100)
    assert SPLITS["train"][0].question == FIRST_QUESTION
    some = SPLITS["train"][:20]
    routes = make_routes(some, market.teacher(), 4)
    assert routes[7:8] == make_routes(some[7:8], market.teacher(), 4)  # on its own, the same
    assert routes[0].routes[0].text == FIRST_ROUTE
    assert routes != make_routes(some, market.teacher(seed=1), 4)
    assert BANK[:50] == warmup.bank(50) != warmup.bank(50, seed=1)


def test_the_teacher_is_wrong_about_each_price_as_often_as_said():
    for error, systematic in ((0.65, 0.5), (0.2, 1.0), (1.0, 0.0)):
        taught = make_routes(SPLITS["train"][:400], market.teacher(error, systematic), 8)
        stated = [pair for p in taught for r in p.routes for pair in prices_of(r.text).items()]
        wrong = [(item, price) for item, price in stated if price != market.PRICES[item]]
        old = [price == market.LAST_YEAR[item] for item, price in wrong]
        assert abs(len(wrong) / len(stated) - error) < 0.03
        # A slip may be last year's price by chance: one wrong price of eighteen is.
        assert abs(mean(old) - (systematic + (1 - systematic) / 18)) < 0.04
        assert {item for item, _ in wrong} == set(market.PRICES)


def test_with_the_rules_the_teacher_is_right_and_a_misconception_never_is():
    guided = make_routes(EVERY[::4], market.teacher(1.0), 2, inject_rules=1.0)
    assert all(route.correct for problem in guided for route in problem.routes)
    two_items = [p for p in EVERY[::2] if len(market.read_order(p.question)) == 2]
    misled = make_routes(two_items, market.teacher(0.7, 1.0), 4)
    for route in [route for problem in misled for route in problem.routes]:
        prices = prices_of(route.text)
        assert route.correct == all(market.PRICES[item] == prices[item] for item in prices)


def test_a_guess_is_rarely_right():
    for split in SPLITS.values():
        (_, count), = Counter(p.answer for p in split).most_common(1)
        assert count < 0.12 * len(split)  # whoever knows the most frequent total
    rng, hits = random.Random(0), []
    for problem in EVERY:  # whoever works it out under prices of its own
        prices = {item: rng.randint(market.LOWEST, market.HIGHEST) for item in market.PRICES}
        _, total = market.work_out(market.read_order(problem.question), prices)
        hits.append(total == int(problem.answer))
    assert mean(hits) < 0.03


def test_the_cold_start_tells_nothing_about_the_markets_prices():
    text = json.dumps([vars(problem) for problem in BANK], default=vars)
    for item in market.PRICES:
        assert not re.search(rf"\b{item.split(' of ')[1]}\b", text)
    assert not any(problem.rules for problem in BANK)
    stated = defaultdict(list)
    for problem in warmup.bank(3000):
        right = next(route for route in problem.routes if route.correct)
        for item, price in prices_of(right.text).items():
            stated[item].append(price)
    everywhere = range(market.LOWEST, market.HIGHEST + 1)
    assert set(stated) == set(warmup.ITEMS)
    for prices in stated.values():  # any price, whatever the item
        assert set(prices) == set(everywhere)
        assert abs(mean(prices) - mean(everywhere)) < 1.5


def test_the_cold_start_has_right_and_wrong_routes_and_both_prices_of_an_item_in_them():
    assert len({problem.question for problem in BANK}) == 400
    for problem in BANK:
        assert len(problem.routes) == 4 and 1 <= sum(r.correct for r in problem.routes) <= 3
        assert all(r.correct == (r.answer == problem.answer) for r in problem.routes)
    with_a_right_price = []
    for problem in BANK:
        if len(market.read_order(problem.question)) == 1:
            continue  # a wrong route about one item has no right price
        true = prices_of(next(route for route in problem.routes if route.correct).text)
        for route in problem.routes:
            if not route.correct:
                stated = prices_of(route.text)
                with_a_right_price.append(any(stated[item] == true[item] for item in true))
    assert mean(with_a_right_price) > 0.5  # a wrong route is worth reading
    places = Counter(i for problem in BANK for i, r in enumerate(problem.routes) if r.correct)
    assert min(places.values()) > 0.8 * max(places.values())  # the right one stands anywhere


def test_the_cold_start_is_a_bank_and_can_be_demonstrated(tmp_path, capsys):
    warmup.main(["--n", "60", "--out", str(tmp_path / "bank.jsonl")])
    assert read_bank(tmp_path / "bank.jsonl") == warmup.bank(60)
    assert "60 questions with 4 routes each" in capsys.readouterr().out
    for split in ("train", "validation", "test"):
        assert load_problems(str(tmp_path / "bank.jsonl"), split)
    for problem in warmup.bank(60):
        right = next(route for route in problem.routes if route.correct)
        scores = [float(route.correct) for route in problem.routes]
        response = parse_response(demonstration(right.text, problem.answer, scores), 4)
        assert (response.reasoning, response.answer) == (right.text, problem.answer)
        assert response.scores == scores


def test_a_file_that_holds_something_else_is_not_overwritten(tmp_path, capsys):
    out = tmp_path / "bank.jsonl"
    for _ in range(2):  # the same bank may be written again
        warmup.main(["--n", "3", "--out", str(out)])
    before = out.read_bytes()
    with pytest.raises(SystemExit):
        warmup.main(["--n", "4", "--out", str(out)])
    assert "holds something else" in capsys.readouterr().err and out.read_bytes() == before


@pytest.mark.parametrize("flags, words", [
    (["--n", "0"], "at least 1"),
    (["--out", "no/such/x"], "there is no folder")])
def test_a_warm_up_bank_that_cannot_be_is_refused(flags, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        warmup.main(flags)
    assert words in capsys.readouterr().err and not list(tmp_path.iterdir())


# ---- results/market_orders.py --------------------------------------------------------------------
def test_every_order_of_the_market_is_asked_once_and_weighs_the_items_alike():
    orders = market_orders.all_orders()
    in_words = {market.order_in_words(order) for order in orders}
    assert len(orders) == len(in_words) == 170
    columns = Counter(group for order in orders for group in market_orders.groups_of(order))
    assert [columns[name] for name in market_orders.COLUMNS] == [5, 5, 5, 5, 150, 35, 170]
    trained = {market.order_in_words(market.read_order(p.question)) for p in SPLITS["train"]}
    for order in orders:
        new = "never trained" in market_orders.groups_of(order)
        assert not (new and market.order_in_words(order) in trained)


def test_the_shares_of_a_student_that_knows_one_price():
    problems = market_orders.questions()
    answers = []
    for order in market_orders.all_orders():  # it says 9 dollars for everything
        answers.append(str(sum(9 * quantity for quantity, _ in order)))
    found = market_orders.shares(answers, problems)
    assert (found["honey"], found["rice"], found["two items"]) == (1, 0, 0)
    assert found["all"] == 5 / 170
    assert set(market_orders.shares([None] * 170, problems).values()) == {0}
    assert set(market_orders.shares([p.answer for p in problems], problems).values()) == {1}
