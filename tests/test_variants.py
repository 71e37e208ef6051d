"""results/variants.py and results/questions.py: other ways to show routes and to take them away."""
import json
import random
import re
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from matplotlib.figure import Figure

import train
from data import load_problems
from engine.flags import given_flags
from grpo import load_policy
from realm import Problem, Route
from results import checks, knows, questions, whose_price
from results.conditions import shown_prompts
from results.copying import three_routes
from results.other_shop import other_shop, write_folder
from results.question_figures import ROWS, draw_dots, draw_map
from results.variants import VARIANTS, Variant, first_steps, install, steps_of
from tasks import shop_checks, shop_totals
from tasks.shop import ITEMS, price_lists, read_order, work_out

TEXT = "tea @40 x 2 = 80 sum 80; jam @25 x 2 = 50 sum 130; total 130 - 10 = 120."


def a_problem(right=4, wrong=4):
    """A problem with so many right and wrong routes, whose wrong answers all differ."""
    routes = [Route(TEXT, "120", True) for _ in range(right)]
    routes += [Route(TEXT, str(i), False) for i in range(wrong)]
    return Problem("2 tea, 2 jam", "120", routes)


def a_variant(name, step=0, **flags):
    variant = VARIANTS[name]() if name else Variant()
    variant.config = SimpleNamespace(**{"steps": 100, "fade": 0.9, "routes": 3, "error_ratio": None,
                                        "selection": "random", **flags})
    variant.step = step
    return variant


def shown(variant, problem, n=200):
    """What n prompts of a problem carry."""
    rng = random.Random(0)
    return [variant.routes(problem, rng) for _ in range(n)]


def share_wrong(prompts):
    routes = [route for routes in prompts for route in routes]
    return sum(not route.correct for route in routes) / len(routes)


def test_the_tail_never_ends():
    assert a_variant("tail", 0).probability() == 1.0
    assert a_variant("tail", 99).probability() == 0.1


@pytest.mark.parametrize("name", ["error", "error-on"])
def test_the_share_of_wrong_routes_rises_from_0_to_1(name):
    shares = [share_wrong(shown(a_variant(name, step), a_problem())) for step in (0, 45, 99)]
    assert shares[0] == 0 and shares[2] == 1
    assert shares[1] == pytest.approx(0.5, abs=0.07)


def test_error_on_is_always_present_and_error_fades():
    assert a_variant("error-on", 99).probability() == 1.0
    assert a_variant("error", 99).probability() == 0.0


@pytest.mark.parametrize("step, mean", [(0, 3.0), (45, 1.5), (99, 0.0)])
def test_thinned_leaves_out_each_route_by_itself(step, mean):
    lengths = [len(routes) for routes in shown(a_variant("thinned", step), a_problem(), n=2000)]
    assert sum(lengths) / len(lengths) == pytest.approx(mean, abs=0.06)
    if step == 45:
        assert set(lengths) == {0, 1, 2, 3}


def test_routes_get_shorter_until_none_is_left():
    for step, lengths in ((0, {3}), (45, {1, 2}), (99, {0})):
        prompts = shown(a_variant("shorter", step), a_problem())
        found = {len(steps_of(routes[0].text)) if routes else 0 for routes in prompts}
        assert found == lengths
        for routes in prompts:  # all routes of a prompt are cut at the same place
            assert len({len(route.text) for route in routes}) <= 1


def test_a_cut_route_keeps_its_label_and_its_first_steps():
    cut = first_steps(Route(TEXT, "120", True), 2)
    assert cut.correct
    assert cut.text == "tea @40 x 2 = 80 sum 80; jam @25 x 2 = 50 sum 130;"


def test_paced_waits_until_the_student_is_right_with_routes():
    variant = a_variant("paced")
    for _ in range(20):
        variant.look({"answer_routes": 0.2, "live": 0.5})
    assert variant.probability() == 1.0
    for _ in range(20):
        variant.look({"answer_routes": 0.9, "live": 0.5})
    fallen = variant.probability()
    assert 0.6 < fallen < 1.0
    for _ in range(30):
        variant.look({"answer_routes": None, "live": 0.0})
    waited = variant.probability()
    variant.look({"answer_routes": 0.9, "live": 0.0})
    assert variant.probability() == waited


def test_never_agree_shows_two_answers_if_the_bank_can():
    problem = a_problem(right=7, wrong=1)
    for routes in shown(a_variant("never-agree"), problem):
        assert len({route.answer for route in routes}) == 2
    assert len(shown(a_variant("never-agree"), a_problem(right=8, wrong=0), 1)[0]) == 3


def test_wrong_first_shows_a_right_route_only_where_wrong_ones_are_missing():
    wrong_first = a_variant("", error_ratio=1.0)  # what O1 calls so
    assert share_wrong(shown(wrong_first, a_problem())) == 1
    assert share_wrong(shown(wrong_first, a_problem(wrong=1))) == pytest.approx(1 / 3)


def test_a_variant_takes_the_place_of_what_train_shows(monkeypatch):
    for name in ("rl_step", "route_probability", "draw_routes"):
        monkeypatch.setattr(train, name, getattr(train, name))
    seen = []

    def one_step(model, tokenizer, reference, optimizer, problems, config, step):
        seen.append((train.route_probability(config, step),
                     len(train.draw_routes(problems[0], config, random.Random(0), 3))))
        return {"answer_routes": 1.0, "live": 1.0}, {}, None

    monkeypatch.setattr(train, "rl_step", one_step)
    install(VARIANTS["thinned"]())
    config = a_variant("thinned").config
    for step in (0, 99):
        train.rl_step(None, None, None, None, [a_problem()], config, step)
    assert seen == [(1.0, 3), (1.0, 0)]


def test_the_plain_variant_is_the_method():
    variant = Variant()
    variant.config = SimpleNamespace(steps=100, fade=0.9, routes=3, error_ratio=None,
                                     selection="random")
    variant.step = 45
    assert variant.probability() == pytest.approx(0.5)
    assert train.route_probability(SimpleNamespace(
        method="realm-zero", steps=100, schedule="cosine", p_end=0.0, fade=0.9), 45) == 0.5


# ---- the sweeps ----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", questions.QUESTIONS)
def test_every_arm_is_a_command_that_train_understands(name):
    arms = questions.QUESTIONS[name][0]()
    folders = {arm.folder(0) for arm in arms}
    assert len(folders) == len(arms)  # no two arms share a run
    for arm in arms:
        assert not arm.variant or arm.variant in VARIANTS
        train.Config(**given_flags(train.Config, None, arm.all_flags().split()))


def test_redundancy_is_the_share_of_repeated_answers_and_right_that_of_right_routes():
    arms = [arm for arm in questions.selection_arms() if arm.labels["price known"] == 0.2
            and arm.labels["routes in bank"] == 16]
    shown, right = {}, {}
    for arm in arms:
        prompts = shown_prompts(arm.flags, arm.variant, [a_problem(right=14, wrong=2)] * 200)
        shown[arm.labels["selection"]] = questions.redundancy(prompts)
        right[arm.labels["selection"]] = questions.right_share(prompts)
    assert shown["diverse"] == 0
    assert 0.7 < shown["random"] <= 1
    assert shown["wrong-first"] == 0
    assert right["random"] == pytest.approx(14 / 16, abs=0.05)
    assert right["balanced"] == pytest.approx(1 / 2, abs=0.05)
    assert right["wrong-first"] == pytest.approx(1 / 3, abs=1e-3)


def test_a_table_says_what_is_missing():
    figures = dict.fromkeys(questions.QUESTIONS["O3"][2], [None, None]) | {"alone": [0.5, 0.7]}
    saved = {"question": "O3", "arms": [{"labels": {"curriculum": "tail"}, "figures": figures}]}
    last = questions.table(saved).splitlines()[-1]
    assert last == "| tail | 0.500 / 0.700 | - | - | - | - |"
    json.dumps(saved)


def test_few_runs_stand_one_by_one_in_a_table_and_more_have_an_interval():
    run = [True] * 5
    assert questions.cell([0.5], run) == "0.500"
    assert questions.cell([0.9, None, 0.003], [True, False, True]) == "0.900 / 0.003"
    assert questions.cell([0.9, None, 0.003], [True, True, True]) == "0.900 / - / 0.003"
    assert questions.cell([None, None, None], [True, True, False]) == "-"
    assert questions.cell([0.1, 0.2, 0.3], run) == "0.100 / 0.200 / 0.300"
    assert questions.cell([0.1, 0.2, 0.3, 0.4, 0.5], run) == "0.300 ± 0.196"


# ---- what a student knows ----------------------------------------------------------------------
def test_the_base_calculates_well_and_knows_no_price():
    model, tokenizer = load_policy("tiny")
    asked = load_problems("shop", "validation", 40)
    found = knows.measure(model, tokenizer, asked, 0)
    assert found["names"] == 1 and found["prices"] < 0.1
    assert min(found[part] for part in ("products", "sums", "totals")) > 0.95
    assert found["right"] == 0


def test_a_wrong_sum_is_counted_once():
    order, prices = [(1, "tea"), (1, "jam"), (2, "milk")], {"tea": 40, "jam": 30, "milk": 20}
    text = "tea @40 x 1 = 40 sum 41; jam @30 x 1 = 30 sum 71; milk @20 x 2 = 40 sum 111; total 111."
    right, seen = knows.check(text, order, prices)
    assert (right["sums"], seen["sums"]) == (2, 3)
    assert (right["totals"], seen["totals"]) == (0, 1)  # 10 off is missing
    assert right["prices"] == right["products"] == 3


def test_a_price_is_unseen_if_no_route_states_it_right():
    order, prices = [(1, "tea"), (1, "jam"), (2, "milk")], {"tea": 40, "jam": 30, "milk": 20}
    routes = [Route("tea @40 x 1 = 40 sum 40; jam @35 x 1 = 35 sum 75;", "75", False),
              Route("tea @41 x 1 = 41 sum 41; jam @36 x 1 = 36 sum 77;", "77", False)]
    text = "tea @40 x 1 = 40 sum 40; jam @30 x 1 = 30 sum 70; milk @25 x 2 = 50 sum 120;"
    right, seen = knows.check(text, order, prices, routes)
    assert (right["prices"], seen["prices"]) == (2, 3)
    assert (right["unseen"], seen["unseen"]) == (1, 2)  # jam is right, milk is not, tea was shown


# ---- checks in writing ---------------------------------------------------------------------------
CHECKED = [
    Route("tea @40 x 2 = 80 sum 80; jam @25 x 1 = 25 sum 105; total 105 - 10 = 95.", "95", True),
    Route("tea @40 x 2 = 80 sum 80; jam @31 x 1 = 31 sum 111; total 111 - 10 = 101.", "101", False)]


def followed(first, second, scores):
    """The parts that are not all right, as 'held/seen', of a student that reasons as CHECKED[0]."""
    text = f"<think> {CHECKED[0].text}</think><answer> 95</answer> route 1:{first}. " \
           f"route 2:{second}. <scores> {scores}</scores>"
    held, seen = checks.follow(text, "2 tea, 1 jam", CHECKED)
    assert sum(seen[kind] for kind in ("right", "wrong")) == seen["scores"] == seen["verdicts"] == 2
    return {part: f"{held[part]}/{seen[part]}" for part in seen if held[part] != seen[part]}


def test_each_step_of_a_check_is_judged_by_what_stands_before_it():
    agrees, differs = " tea @40 @40 jam @25 @25 yes", " tea @40 @40 jam @25 @31 no"
    assert followed(agrees, differs, "1, 0") == {}
    # A price that is not the route's, and what follows from it: a right route is scored 0.
    assert followed(" tea @40 @44 no", differs, "0, 0") == {"route": "2/3", "right": "0/1"}
    # The price of another item of that route is not the route's price of this item.
    assert followed(" tea @40 @25 no", differs, "0, 0") == {"route": "2/3", "right": "0/1"}
    # Another item's name, with the right prices.
    assert followed(" milk @40 @40 jam @25 @25 yes", differs, "1, 0") == {"names": "3/4"}
    # A check that ends too early, too late, or goes on behind a difference.
    assert followed(" tea @40 @40 yes", differs, "1, 0") == {"ends": "1/2"}
    late = " tea @40 @40 jam @25 @25 jam @25 @31 no"
    assert followed(late, differs, "0, 0") == {"ends": "1/2", "right": "0/1"}
    beyond = " tea @40 @44 jam @25 @25 no"
    assert followed(beyond, differs, "0, 0") == {"route": "3/4", "ends": "1/2", "right": "0/1"}
    # A price that is not the student's.
    assert followed(agrees, " tea @41 @40 no", "1, 0") == {"own": "2/3"}
    # Verdicts and scores that do not follow.
    assert followed(" tea @40 @40 jam @25 @25 no", differs, "0, 0") == {"verdicts": "1/2",
                                                                        "right": "0/1"}
    assert followed(agrees, differs, "1, 1") == {"scores": "1/2", "wrong": "0/1"}
    # A route that is not there does not count.
    assert followed(agrees, differs + ". route 3: tea @40 @44 yes", "1, 0") == {}


def test_a_check_of_totals_is_judged_digit_by_digit():
    def slips(first, second, scores):
        text = (f"<think> {TEXT}</think><answer> 120</answer> route 1:{first}. route 2:{second}. "
                f"<scores> {scores}</scores>")
        held, seen = checks.follow(text, "2 tea, 2 jam", routes)
        return {part: f"{held[part]}/{seen[part]}" for part in seen if held[part] != seen[part]}

    routes = [Route(TEXT, "120", True), Route(TEXT, "124", False)]
    agrees, differs = " 1 1 2 2 0 0.. yes", " 1 1 2 2 0 4 no"
    assert slips(agrees, differs, "1, 0") == {}
    assert slips(" 1 1 2 2 0 6 no", differs, "0, 0") == {"route": "5/6", "right": "0/1"}
    assert slips(agrees, " 1 1 2 2 6 4 no", "1, 0") == {"own": "6/7"}
    assert slips(" 1 1 2 2 0 0 yes", differs, "1, 0") == {"ends": "1/2"}  # no period
    assert slips(" 1 1 2 2 0 0.. no", differs, "0, 0") == {"verdicts": "1/2", "right": "0/1"}
    assert slips(agrees, differs, "1, 1") == {"scores": "1/2", "wrong": "0/1"}


@pytest.mark.parametrize("corpus, first", [(shop_checks, 0), (shop_totals, 1)])
def test_the_checks_of_the_corpus_are_right_in_every_step(corpus, first):
    rng, whole = random.Random(0), Counter()
    parts = checks.PARTS[first:6]  # totals have no names
    for _ in range(200):
        prompt, completion = corpus.example(rng)
        routes = []
        for text, total in re.findall(r"Route \d+: (.* (\d+)\.)\n", prompt):
            routes.append(Route(text, total, False))
        question = re.search("Problem: (.*)", prompt)[1]
        held, seen = checks.follow(completion, question, routes)
        assert all(held[part] == seen[part] for part in parts)
        whole.update(seen)
    assert min(whole[part] for part in parts) > 300


def test_a_student_is_asked_with_one_right_route_of_three():
    (problem, routes), = checks.with_one_right_route([a_problem(1, 5), a_problem(0, 6),
                                                      a_problem(4, 1)])
    assert len(routes) == 3 and sum(route.correct for route in routes) == 1
    assert all(route in problem.routes for route in routes)


# ---- another shop --------------------------------------------------------------------------------
def test_another_shop_has_so_many_items_and_facts_and_true_labels():
    train_set, test = other_shop(items=5, facts=2, known=0.3, n=4)
    prices, _ = price_lists()
    sizes = Counter(len(read_order(problem.question)) for problem in train_set)
    assert set(sizes) == {1, 2} and sizes[1] == sizes[2]
    assert {len(read_order(problem.question)) for problem in test} == {2}
    sold = set()
    stated = []
    for problem in train_set + test:
        order = read_order(problem.question)
        sold |= {item for _, item in order}
        assert problem.answer == str(work_out(order, prices)[1])
        assert len(problem.routes) == 4
        for route in problem.routes:
            assert route.correct == (route.text.endswith(f" {problem.answer}."))
            for item, price in re.findall(r"([a-z]+) @([0-9]+)", route.text):
                stated.append(int(price) == prices[item])
    assert len(sold) == 5
    assert sum(stated) / len(stated) == pytest.approx(0.3, abs=0.08)


def test_another_shop_without_short_orders():
    train_set, _ = other_shop(items=6, facts=4, known=0.3, n=1, fewest=3)
    sizes = Counter(len(read_order(problem.question)) for problem in train_set)
    assert set(sizes) == {3, 4} and sizes[3] == sizes[4]


@pytest.mark.parametrize("items, facts", [(4, 2), (6, 3), (9, 2)])
def test_no_tested_order_is_trained_on_in_whatever_sequence(items, facts):
    train_set, test = other_shop(items, facts, known=0.5, n=1)
    trained = {tuple(sorted(read_order(problem.question))) for problem in train_set}
    tested = {tuple(sorted(read_order(problem.question))) for problem in test}
    assert tested and not trained & tested
    assert {item for order in tested for _, item in order} == set(ITEMS[:items])


def test_the_folder_of_another_shop_is_a_bank(tmp_path):
    train_set, test = other_shop(items=3, facts=2, known=0.5, n=2)
    write_folder(tmp_path / "shop", train_set, test)
    assert load_problems(str(tmp_path / "shop"), "test") == test
    read = load_problems(str(tmp_path / "shop"), "train")
    assert 0 < len(read) <= len(train_set) and all(problem in train_set for problem in read)


def test_a_run_that_is_missing_stays_missing(monkeypatch):
    done = dict.fromkeys(questions.FIGURES, 0.5) | {"commit": "abc"}

    def measure(arm, seed, may_train):
        return done if arm.labels == {"price known": 0.5, "k": 2} and seed == 1 else None

    monkeypatch.setattr(questions, "measure", measure)
    saved = questions.collect("O2", [0, 1], jobs=1, may_train=False)
    [arm] = saved["arms"]
    assert arm["labels"] == {"price known": 0.5, "k": 2, "first rule": "stays",
                             "second rule": "stays"}
    assert saved["seeds"] == [1]
    assert arm["figures"]["alone"] == [0.5]
    assert len(arm["figures"]["possible"]) == 1  # it does not depend on the seed
    assert saved["commit"] == ["abc"]
    with pytest.raises(SystemExit, match="no run of O2"):
        questions.collect("O2", [0], jobs=1, may_train=False)


def test_what_a_file_holds_is_kept_and_not_run_again(monkeypatch):
    """The folders of runs are not in the repository. So a sweep goes on from the file alone."""
    monkeypatch.setattr(questions, "known_before", lambda name, arm: ({}, {}))
    asked = []

    def measure(arm, seed, may_train):
        asked.append((arm.labels["k"], seed))
        return dict.fromkeys(questions.FIGURES, 0.1 * seed) | {"commit": f"commit {seed}"}

    monkeypatch.setattr(questions, "measure", measure)
    monkeypatch.setitem(questions.QUESTIONS, "O2", (lambda: questions.map_arms()[:2], 2, ()))
    first = questions.collect("O2", [1], jobs=1)
    first["arms"].pop()  # of the arm k = 2 nothing is known
    asked.clear()
    second = questions.collect("O2", [0, 2], jobs=1, before=first)
    assert asked == [(1, 0), (2, 0), (1, 2), (2, 2)]
    assert second["seeds"] == [0, 1, 2]
    assert second["commit"] == ["commit 0", "commit 1", "commit 2"]
    assert second["arms"][0]["figures"]["alone"] == [0.0, 0.1, 0.2]
    assert second["arms"][1]["figures"]["alone"] == [0.0, None, 0.2]
    asked.clear()
    assert questions.collect("O2", [0, 1], jobs=1, before=second)["seeds"] == [0, 1, 2]
    assert asked == [(2, 1)]
    monkeypatch.setattr(questions, "measure", lambda *_: None)  # a seed without runs leaves no gap
    assert questions.collect("O2", [3], jobs=1, may_train=False, before=second) == second


def test_a_figure_that_an_older_file_does_not_have_is_read_from_the_run_if_it_is_there(monkeypatch):
    monkeypatch.setattr(questions, "known_before", lambda name, arm: ({}, {}))
    monkeypatch.setitem(questions.QUESTIONS, "O2", (lambda: questions.map_arms()[:2], 1, ()))
    both = dict.fromkeys(questions.FIGURES, 0.5)
    monkeypatch.setattr(questions, "measure", lambda *_: both)
    older = questions.collect("O2", [0], jobs=1)
    for arm in older["arms"]:
        del arm["figures"]["unseen"]

    def measure(arm, seed, may_train):
        assert not may_train  # what was measured is not trained again
        return both | {"unseen": 0.8} if arm.labels["k"] == 1 else None

    monkeypatch.setattr(questions, "measure", measure)
    found = questions.collect("O2", [0], jobs=1, before=older)
    assert [arm["figures"]["unseen"] for arm in found["arms"]] == [[0.8], [None]]
    assert [arm["figures"]["alone"] for arm in found["arms"]] == [[0.5], [0.5]]


def test_unseen_prices_are_asked_with_as_many_routes_as_in_training_and_those_of_a_weak_teacher(
        tmp_path, monkeypatch):
    train_set, test = other_shop(items=6, facts=2, known=1.0, n=2)
    write_folder(tmp_path / "shop", train_set, test)
    (tmp_path / "config.json").write_text(json.dumps({"bank": str(tmp_path / "shop"), "routes": 2}))
    monkeypatch.setattr(questions, "load_policy", lambda *_: (None, None))
    asked = []

    def measure(model, tokenizer, problems, k):
        asked.extend(problems)
        assert k == 2
        return {"unseen": 0.25}

    monkeypatch.setattr(questions, "measure_parts", measure)
    assert questions.unseen_prices(tmp_path) == 0.25
    prices, _ = price_lists()
    stated = [int(price) == prices[item] for problem in asked for route in problem.routes
              for item, price in re.findall(r"([a-z]+) @([0-9]+)", route.text)]
    assert all(len(problem.routes) == 8 for problem in asked)
    assert sum(stated) / len(stated) == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("path", sorted(questions.SAVED.glob("*.json")), ids=lambda path: path.stem)
def test_the_page_shows_what_the_file_holds(path):
    found = json.loads(path.read_text())
    name = path.stem
    block = f"<!-- {name} -->\n{questions.table(found)}\n\n![{name}]({name}.png)\n<!-- end -->"
    assert block in questions.page_of(name).read_text()
    assert path.with_suffix(".png").exists()
    assert found["commit"]


# ---- copying -------------------------------------------------------------------------------------
def test_three_routes_state_so_many_prices():
    order = [(2, "tea"), (3, "jam")]
    for n_prices in (1, 2, 3):
        prices, routes = three_routes(order, n_prices, random.Random(0))
        stated = {re.search(r"tea @([0-9]+)", route)[1] for route in routes}
        assert stated == {str(price) for price in prices}
        assert len(stated) == n_prices


# ---- which price is whose ------------------------------------------------------------------------
def pretender(tokenizer, price_of):
    """A model that is sure of one price. price_of: a function (prompt, item asked for, price that
    the first route states for it, or None) -> price."""
    def model(ids):
        text = tokenizer.decode(ids[0])
        item = text.split()[-1]
        stated = re.search(rf"Route 1:.*?{item} @([0-9]+)", text)
        price = price_of(item, int(stated[1]) if stated else None)
        logits = torch.full((1, ids.shape[1], len(tokenizer)), -100.0)
        logits[0, -1, tokenizer.convert_tokens_to_ids(f" @{price}")] = 100.0
        return SimpleNamespace(logits=logits)
    return model


def test_a_student_that_recalls_has_the_own_price_whatever_is_stated():
    tokenizer = load_policy("tiny")[1]
    model = pretender(tokenizer, lambda item, stated: whose_price.PRICES[item])
    for stated in whose_price.ROUTES:
        found = whose_price.ask(model, tokenizer, stated, 20)
        assert found["own"] == 1 and found["another's"] == found["no one's"] == 0
        wanted = {"own last year's": 1, "another's": 0}.get(stated)
        assert found["translated"] == wanted


def test_a_student_that_translates_has_the_price_that_the_stated_one_stands_for():
    tokenizer = load_policy("tiny")[1]
    meant = {old: whose_price.PRICES[item] for item, old in whose_price.LAST_YEAR.items()}
    model = pretender(tokenizer, lambda item, stated: meant.get(stated, whose_price.NO_ONES[0]))
    found = {stated: whose_price.ask(model, tokenizer, stated, 20)
             for stated in whose_price.ROUTES}
    assert found["own last year's"]["own"] == found["own last year's"]["translated"] == 1
    assert found["another's"]["own"] == 0 and found["another's"]["translated"] == 1
    assert found["another's"]["another's"] == pytest.approx(1 / 5)
    for stated in ("no routes", "random prices"):
        assert found[stated]["own"] == 0
        assert found[stated]["no one's"] == pytest.approx(1 / len(whose_price.NO_ONES))


@pytest.mark.parametrize("stated", whose_price.ROUTES[1:])
def test_no_route_states_a_price_of_the_shop(stated):
    rng = random.Random(0)
    for problem in load_problems("shop", "validation", 100):
        order = read_order(problem.question)
        prices, meant = whose_price.stated_prices(order, stated, rng)
        assert prices.keys() == {item for _, item in order}
        assert not set(prices.values()) & set(whose_price.PRICES.values())
        first = order[0][1]
        assert (meant == first) == (stated == "own last year's")
        if meant:
            assert prices[first] == price_lists()[1][meant]
        else:
            assert not set(prices.values()) & set(whose_price.LAST_YEAR.values())


def dots_of(figure):
    """How many dots of runs without routes each panel shows."""
    return [sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() == "o")
            for ax in figure.axes if ax.get_visible()]


@pytest.mark.parametrize("name", ["O1", "O2-test", "O2-votes", "O3", "O3-test", "lesson",
                                  "scores", "recall", "totals"])
def test_a_figure_has_a_dot_for_each_run_and_none_for_a_missing_one(name):
    arms = [{"labels": arm.labels | {"first rule": "open", "second rule": "open"},
             "figures": {"alone": [0.5, None, 0.7], "with routes": [None, None, 0.8],
                         "AUC": [None, 0.5, None]}}
            for arm in questions.QUESTIONS[name][0]()]
    figure = Figure()
    draw_dots(figure, arms, *ROWS[name])
    assert sum(dots_of(figure)) == 2 * len(arms)


def test_the_figure_of_the_scores_shows_their_auc_too():
    figures = {"alone": [0.5, None], "with routes": [0.4, 0.3], "AUC": [0.9, None]}
    figure = Figure()
    draw_dots(figure, [{"labels": {"flags": "-"}, "figures": figures}], *ROWS["scores"])
    shown = {line.get_label(): list(line.get_xdata()) for line in figure.axes[0].lines}
    assert shown == {"with routes": [0.4, 0.3], "alone": [0.5], "AUC": [0.9]}


def test_the_map_leaves_a_cell_white_that_is_not_measured():
    figures = {name: [0.5, None] for name in ("alone", "with routes", "seconds a step", "coverage",
                                              "live", "voting")}
    arms = [{"labels": {"price known": q, "k": k}, "figures": figures}
            for q, k in ((0.2, 1), (0.5, 3))]
    figure = Figure()
    draw_map(figure, arms)
    cells = figure.axes[0].images[0].get_array()
    assert cells.shape == (2, 2) and cells.mask.sum() == 2
