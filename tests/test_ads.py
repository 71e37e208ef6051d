import itertools
import random
import re
from collections import Counter, defaultdict
from statistics import mean

import pytest

from tasks import ads
from data import make_routes
from rewards import answers_match, final_answer

SPLITS = {split: ads.problems(split, 2000) for split in ("train", "validation", "test", "ood")}
EVERY = [problem for split in SPLITS.values() for problem in split]
RULES = [  # a question that passes, and one that does not, for each rule
    # another name, a look-alike
    ("phone in rome ad: mobile in rome", "phone in rome ad: tablet in rome"),
    ("shoe ad: boot", "boot ad: shoe"),  # a narrower product, a broader one
    ("sofa ad: couch bundle", "sofa ad: sofa cover"),  # an offer, an accessory
    ("bike ad: slim bike", "bike ad: toy bike"),
    ("rent desk ad: lease desk", "rent desk ad: buy desk"),
    ("new bag ad: sealed backpack", "new bag ad: used bag"),
    ("nova laptop ad: orbit notebook", "nova laptop ad: delta laptop"),  # sister brands, rivals
    ("bag in rome ad: bag in tivoli", "bag in rome ad: bag in milan"),  # near, far
    ("jumper for men ad: sweater for unisex", "jumper for unisex ad: sweater for men"),
    ("jumper for kids ad: jumper for junior", "jumper for women ad: jumper for junior"),
    # what only one side names
    ("new apex shoe ad: shoe in como", "new apex shoe ad: used shoe in como")]


def checks_of(problem):
    return ads.read_question(problem.question)


def accuracy(error, systematic, q=0.0, of=ads.ANSWERS):
    """Share of right routes, of the test questions with these gold answers."""
    problems = [p for p in SPLITS["test"][:1000] if p.answer in of]
    taught = make_routes(problems, ads.teacher(error, systematic), 4, q)
    return mean(r.correct for p in taught for r in p.routes)


@pytest.mark.parametrize("questions", RULES)
def test_the_label_follows_the_rules(questions):
    for question, answer in zip(questions, ads.ANSWERS):
        checks = ads.read_question("query: " + question)
        assert ads.work_out(checks, ads.judge(checks))[1] == answer
        matches = [answers_match(answer, gold) for gold in ads.ANSWERS]
        assert matches == [answer == gold for gold in ads.ANSWERS]


def test_every_attribute_decides_questions_both_ways_and_half_of_all_are_relevant():
    decisive = Counter()
    for problem in SPLITS["train"]:
        checks = checks_of(problem)
        passes = ads.judge(checks)
        for i, (name, a, b) in enumerate(checks):
            if a != b and all(passes[:i] + passes[i + 1:]):
                decisive[name, passes[i]] += 1
    assert len(decisive) == 2 * len(ads.ATTRIBUTES) and min(decisive.values()) > 0.03 * 2000
    for split in SPLITS.values():
        assert 0.46 < mean(p.answer == "relevant" for p in split) < 0.54


def test_every_fact_is_met_in_training_and_what_ood_puts_together_is_not():
    def pairs(problem):
        return set(itertools.combinations(checks_of(problem), 2))

    met = Counter(check for p in SPLITS["train"] for check in checks_of(p) if check[1] != check[2])
    assert set(met) == {(name, *pair) for name, table in ads.FACTS.items() for pair in table}
    assert min(met.values()) >= 5
    together = {pair for split in ("train", "validation", "test") for p in SPLITS[split]
                for pair in pairs(p)}
    assert all(pairs(p) - together for p in SPLITS["ood"])
    assert len({p.question for p in EVERY}) == 8000  # and no question is in two splits
    assert ads.problems("train", 100) == SPLITS["train"][:100]


def test_the_teacher_is_right_with_the_rules_and_misled_by_the_surface_without():
    assert accuracy(1.0, 1.0, q=1.0) == accuracy(0.0, 0.5) == 1.0
    assert 0.6 < accuracy(0.5, 0.5) < 0.67 and accuracy(1.0, 1.0) < 0.55
    assert accuracy(1.0, 1.0, of=("relevant",)) < 0.1  # another word is another thing
    teach = ads.teacher(1.0, 1.0)
    # A word more makes no difference to the teacher.
    for question in ("query: sofa ad: sofa cover", "query: bike ad: toy bike"):
        route = teach([ads.Problem(question, "irrelevant")], [[False]])[0][0]
        assert final_answer(route) == "relevant"
    # All routes to a problem are the same, so no vote finds the error.
    taught = teach(SPLITS["test"][:50], [[False] * 4] * 50)
    assert all(len(set(routes)) == 1 for routes in taught)


def test_the_experts_speak_plainly_of_every_check():
    for problem in EVERY[::10]:
        told = set(re.findall("[a-z]+", " ".join(problem.rules).lower()))
        assert all(a == b or {a, b} - {""} <= told for _, a, b in checks_of(problem))
    checks = ads.read_question("query: phone in rome ad: mobile case in ostia")
    assert ads.expert_comments(checks)[:3] == [
        "A mobile is a phone.",
        "A case goes with the product and is not the product.",
        "Ostia is near Rome."]


def test_the_corpus_knows_the_form_and_none_of_the_facts():
    rng = random.Random(0)
    said = defaultdict(list)
    words = {"query", "ad", "for", "in"}
    passing = {"same", *(attribute.verdicts[0] for attribute in ads.ATTRIBUTES.values())}
    for _ in range(20_000):
        prompt, completion = ads.example(rng)
        checks = ads.read_question(re.search("Problem: (.*)\n", prompt)[1])
        reasoning = re.search("> (.*)</think>", completion)[1]
        passes = [step.split()[-1] in passing for step in reasoning.split("; ")[:-1]]
        # the form, and a sound conclusion
        assert (reasoning, final_answer(completion)) == ads.work_out(checks, passes)
        words.update(re.findall("[a-z]+", reasoning))
        for (name, a, b), p in zip(checks, passes):
            if a != b:
                said[name, ads.FACTS[name][a, b]].append(p)
    # what the tokenizer has to hold
    assert words == set(ads.WORDS) and len(ads.WORDS) == len(words)
    for name in ads.FACTS:  # what passes in truth passes here as often as what does not
        passes, fails = said[name, True], said[name, False]
        standard_error = (0.25 / len(passes) + 0.25 / len(fails)) ** 0.5
        assert abs(mean(passes) - mean(fails)) < 4 * standard_error
