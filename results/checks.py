"""Where does a student that checks routes go wrong? `python -m results.checks RUN_OR_MODEL...`

tiny-checks and tiny-recall check each price of a route in writing before they score it
(tasks/shop_checks.py), and tiny-totals checks each digit of its total (tasks/shop_totals.py). A
slip in one step of that check may make a score wrong. Here validation orders are answered greedily,
each with a right route and two wrong ones, and every step from the student's answer to its scores
is looked at by itself:

    names     share of the items in the checks that are called by their name (no totals have any)
    own       share of the student's prices (digits) in the checks that are those of its reasoning
    route     share of the routes' prices (digits) in the checks that are in that route
    ends      share of the checks that end at the first difference, or else with the last item (with
              the period behind the total)
    verdicts  share of the verdicts (yes, no) that follow from the two prices (digits) before them
    scores    share of the scores that repeat the verdict
    right     share of the right routes that are scored above one half
    wrong     share of the wrong routes that are scored below one half

Promise: each step is judged by what stands before it.
tests/test_variants.py holds this file to that.
"""
import random
import re
from collections import Counter

from data import load_problems, make_routes
from grpo import load_policy, sample
from realm import mrpv_prompt, parse_response
from results.command import measure_runs
from tasks.shop import read_order, teacher

CHECK = re.compile(r"route (\d+):((?: [a-z]+ @\d+ @\d+)+|[ 0-9.]+?) (yes|no)\.")
PAIR = re.compile(r"([a-z]+) @(\d+) @(\d+)")
PRICE = re.compile(r"@(\d+) x")
PARTS = ("names", "own", "route", "ends", "verdicts", "scores", "right", "wrong")


def follow(text, question, routes):
    """Follow the checks of a completion -> (held, seen), two Counters over the parts. routes: those
    that the prompt showed, in order. The j-th pair of prices of a check belongs to the j-th item of
    the order, whatever the student calls it. A pair may also be one of digits, of the two totals.

    >>> from realm import Route
    >>> routes = [Route("tea @40 x 2 = 80 sum 80; total 80.", "80", True)]
    >>> text = ("<think> tea @40 x 2 = 80 sum 80; total 80.</think><answer> 80</answer> "
    ...         "route 1: tea @40 @45 no. <scores> 0</scores>")
    >>> held, seen = follow(text, "2 tea", routes)
    >>> [f"{part} {held[part]}/{seen[part]}" for part in PARTS[1:]]  # without names
    ['own 1/1', 'route 0/1', 'ends 1/1', 'verdicts 1/1', 'scores 1/1', 'right 0/1', 'wrong 0/0']
    """
    held, seen = Counter(), Counter()
    response = parse_response(text, len(routes))
    items = [item for _, item in read_order(question)]
    own = PRICE.findall(response.reasoning or "")
    for number, pairs, verdict in CHECK.findall(text):
        i = int(number) - 1
        if i >= len(routes):
            continue
        if "@" in pairs:
            pairs = PAIR.findall(pairs)
            wanted = list(zip(items, own, PRICE.findall(routes[i].text)))
        else:
            signs = pairs.replace(" ", "")
            pairs = [("", *pair) for pair in zip(signs[::2], signs[1::2])]
            wanted = [("", *pair) for pair in zip(f"{response.answer}.", f"{routes[i].answer}.")]
        for pair, (item, mine, its) in zip(pairs, wanted):
            if item:
                held["names"] += pair[0] == item
                seen["names"] += 1
            held["own"] += pair[1] == mine
            held["route"] += pair[2] == its
            seen.update(("own", "route"))
        differs = [mine != its for _, mine, its in pairs]
        last = differs.index(True) if any(differs) else len(wanted) - 1  # where it has to end
        held["ends"] += len(pairs) - 1 == last < len(wanted)
        held["verdicts"] += any(differs) == (verdict == "no")
        seen.update(("ends", "verdicts"))
        if response.scores:
            held["scores"] += (response.scores[i] > 0.5) == (verdict == "yes")
            seen["scores"] += 1
    for route, score in zip(routes, response.scores or ()):
        kind = "right" if route.correct else "wrong"
        held[kind] += (score > 0.5) == route.correct
        seen[kind] += 1
    return held, seen


def with_one_right_route(problems):
    """Pairs (problem, three routes of which one is right), of the problems that have such routes.
    """
    shown = []
    for problem in problems:
        rng = random.Random(problem.question)
        right = [route for route in problem.routes if route.correct]
        wrong = [route for route in problem.routes if not route.correct]
        if right and len(wrong) > 1:
            routes = [rng.choice(right), *rng.sample(wrong, 2)]
            shown.append((problem, rng.sample(routes, 3)))
    return shown


def main(students):
    problems = make_routes(load_problems("shop", "validation", 300), teacher(), n=8)
    asked = with_one_right_route(problems)
    prompts = [mrpv_prompt(problem.question, routes) for problem, routes in asked]
    print(f"{len(asked)} orders")
    print(f"| student | {' | '.join(PARTS)} |")
    print("|---" * (1 + len(PARTS)) + "|")
    for name in students:
        model, tokenizer = load_policy(name, "cpu")
        held, seen = Counter(), Counter()
        texts = sample(model, tokenizer, prompts, 1, 128, temperature=0.0).texts
        for (problem, routes), text in zip(asked, texts):
            found, looked_at = follow(text, problem.question, routes)
            held.update(found)
            seen.update(looked_at)
        shares = [f"{held[part] / seen[part]:.2f}" if seen[part] else "-" for part in PARTS]
        print(f"| {name} | {' | '.join(shares)} |")


if __name__ == "__main__":
    measure_runs("checks", __doc__, main, default="tiny-checks")
