import itertools
import random
import re
from collections import Counter, defaultdict

import pytest

from assets import ads
from data import make_routes
from rewards import answers_match, final_answer

SPLITS = {split: ads.problems(split, 2000) for split in ("train", "validation", "test", "ood")}
EVERY = [problem for split in SPLITS.values() for problem in split]


def checks_of(problem):
    return ads.read_question(problem.question)


def accuracy(error, systematic, q=0.0, split="test"):
    """Share of right routes -> {gold answer: accuracy} and overall."""
    routes = [(p.answer, r.correct) for p in make_routes(SPLITS[split][:1000], ads.teacher(error, systematic), 4, q) for r in p.routes]
    of = {gold: [right for g, right in routes if g == gold] for gold in ads.ANSWERS}
    return {gold: sum(x) / len(x) for gold, x in of.items()} | {"all": sum(right for _, right in routes) / len(routes)}


@pytest.mark.parametrize("question, answer", [
    ("query: phone in rome ad: mobile in rome", "relevant"),  # another name
    ("query: shoe ad: used boot", "relevant"),  # a narrower product, and what only one side names
    ("query: boot ad: shoe", "irrelevant"),  # a broader one
    ("query: laptop ad: notebook", "relevant"),
    ("query: notebook ad: tablet", "irrelevant"),  # a look-alike
    ("query: sofa ad: sofa cover", "irrelevant"),  # an accessory
    ("query: sofa ad: couch bundle", "relevant"),  # an offer
    ("query: bike ad: toy bike", "irrelevant"),
    ("query: bike ad: slim bicycle", "relevant"),
    ("query: rent nova desk ad: lease orbit desk", "relevant"),  # one deal, sister brands
    ("query: rent desk ad: buy desk", "irrelevant"),
    ("query: nova desk ad: delta desk", "irrelevant"),  # rival brands
    ("query: new bag in milan ad: sealed backpack in como", "relevant"),  # one condition, near cities
    ("query: new bag ad: used bag", "irrelevant"),
    ("query: bag in ostia ad: bag in como", "irrelevant"),
    ("query: jumper for men ad: sweater for unisex", "relevant"),
    ("query: jumper for unisex ad: sweater for men", "irrelevant"),
    ("query: jumper for women ad: jumper for junior", "irrelevant")])
def test_the_label_follows_the_rules(question, answer):
    checks = ads.read_question(question)
    assert ads.work_out(checks, ads.judge(checks))[1] == answer
    assert [answers_match(answer, gold) for gold in ads.ANSWERS] == [answer == gold for gold in ads.ANSWERS]


def test_every_rule_decides_questions_both_ways_and_half_of_all_are_relevant():
    decisive = Counter()
    for problem in SPLITS["train"]:
        passes = ads.judge(checks_of(problem))
        decisive.update((name, p) for i, ((name, a, b), p) in enumerate(zip(checks_of(problem), passes))
                        if a != b and all(passes[:i] + passes[i + 1:]))
    assert len(decisive) == 2 * len(ads.PAIRS) and min(decisive.values()) > 0.03 * 2000
    for split in SPLITS.values():
        assert 0.46 < sum(p.answer == "relevant" for p in split) / len(split) < 0.54


def test_no_question_is_in_two_splits_and_pairs_of_facts_held_out_are_in_ood_alone():
    together = {name: {pair for p in split for pair in itertools.combinations(checks_of(p), 2)} for name, split in SPLITS.items()}
    seen = together["train"] | together["validation"] | together["test"]
    assert len({p.question for p in EVERY}) == sum(map(len, SPLITS.values())) == 8000
    for problem in SPLITS["ood"]:
        assert set(itertools.combinations(checks_of(problem), 2)) - seen
    assert ads.problems("train", 100) == SPLITS["train"][:100]  # the same in every process, however many are asked for


def test_every_fact_occurs_in_training():
    met = Counter(check for p in SPLITS["train"] for check in checks_of(p) if check[1] != check[2])
    assert set(met) == {(name, *pair) for name, table in ads.FACTS.items() for pair in table} and min(met.values()) >= 5


def test_the_teacher_is_right_with_the_rules_and_misled_by_the_surface_without():
    assert accuracy(1.0, 1.0, q=1.0)["all"] == accuracy(0.0, 0.5)["all"] == 1.0
    assert 0.55 < accuracy(0.5, 0.5)["all"] < 0.67
    surface = accuracy(1.0, 1.0)
    assert surface["all"] < 0.55 and surface["relevant"] < 0.1  # other words are another thing
    teach = ads.teacher(1.0, 1.0)
    for question in ("query: sofa ad: sofa cover", "query: bike ad: toy bike"):  # and an accessory is the product
        assert final_answer(teach([ads.Problem(question, "irrelevant")], [[False]])[0][0]) == "relevant"
    texts = teach(SPLITS["test"][:50], [[False] * 4] * 50)
    assert all(len(set(routes)) == 1 for routes in texts)  # one misconception: no vote can find it out


def test_the_experts_speak_plainly_and_of_every_check():
    for problem in EVERY[::10]:
        told = " ".join(problem.rules).lower()
        assert all(a == b or {a, b} - {""} <= set(re.findall("[a-z]+", told)) for _, a, b in checks_of(problem))
        assert not any(rule in problem.question for rule in problem.rules)
    case = ads.expert_comments(ads.read_question("query: phone in rome ad: mobile case in ostia"))
    assert case[:3] == ["A mobile is a phone.", "A case goes with the product and is not the product.", "Ostia is near Rome."]


def test_the_corpus_knows_the_form_and_none_of_the_facts():
    rng, said = random.Random(0), defaultdict(list)
    words = {"query", "ad", "for", "in", "answer", "is"}
    for prompt, completion in (ads.example(rng) for _ in range(20_000)):
        question, body = re.search("Problem: (.*)\n", prompt)[1], completion.split("</think>")[0]
        checks = ads.read_question(question)
        steps = body.removeprefix("<think> ").split("; ")
        assert len(steps) == len(checks) + 1 and steps[-1] == f"answer is {final_answer(completion)}."
        passes = [step.split()[-1] in {"same", *(v[0] for v in ads.VERDICTS.values())} for step in steps[:-1]]
        assert (f"{' '.join(steps)}".strip(), final_answer(completion)) == tuple(
            text.replace("; ", " ") for text in ads.work_out(checks, passes))
        words |= {w for w in re.findall("[a-z]+", question + body.removeprefix("<think>"))}
        for check, p in zip(checks, passes):
            if check[1] != check[2]:
                said[check].append(p)
    assert words == set(ads.WORDS) and len(ads.WORDS) == len(words)  # what the tokenizer has to hold
    for name, table in ads.FACTS.items():  # passing facts pass as often as failing ones, to within four standard errors
        shares = {kind: [p for pair, true in table.items() if true == kind for p in said[name, *pair]] for kind in (True, False)}
        mean = {kind: sum(x) / len(x) for kind, x in shares.items()}
        assert abs(mean[True] - mean[False]) < 4 * (0.25 / len(shares[True]) + 0.25 / len(shares[False])) ** 0.5
