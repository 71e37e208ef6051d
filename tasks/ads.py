"""The built-in task "ads": does a search ad answer the query?

    question   query: used phone in rome ad: mobile case in ostia
    route      phone mobile same; case part; rome ostia near; answer is irrelevant.

A vertical domain whose expert rules the student has never seen. Every attribute that both sides
name is checked. The ad is relevant if all checks pass. The facts (ATTRIBUTES) are secret, and
words alone mislead: one thing has two names, and an accessory carries the name of its product. The
split "ood" combines facts that no other split combines; each fact alone is met in training. It
tests whether the rules were learnt, not the examples.

Promise: labels follow the facts, every fact is met in training, half of the questions are relevant.
To read: ATTRIBUTES, then judge and work_out, then teacher and example (the pretraining corpus).
tests/test_ads.py holds this file to that.
"""
import itertools
import random
import zlib
from dataclasses import dataclass

from realm import Problem, Route, demonstration, mrpv_prompt
from tasks import corpus_scores, in_split, simulated_teacher


@dataclass(frozen=True)
class Attribute:
    """Something that queries and ads name, and what is true of it.

    passing and failing are what experts say. {a} is the query's word, {b} the ad's; {A} and {B} are
    the same with a capital. verdicts are the words of a route for a check that passes and one that
    fails.
    """
    passing: str
    failing: str
    alike: tuple = ()  # (word, word): either may stand in the ad for the other in the query
    narrower: tuple = ()  # (word, narrower word): passes only if the ad's word is the narrower one
    unlike: tuple = ()  # (word, word): fails both ways round
    harmless: tuple = ()  # words that stand in the ad alone and pass
    harmful: tuple = ()  # words that stand in the ad alone and fail
    verdicts: tuple = ("same", "other")
    preposition: str = ""  # before the word, in a question


ATTRIBUTES = {  # in the order of a question
    "deal": Attribute(
        "To {b} is to {a}.",
        "To {b} is not to {a}.",
        alike=(("rent", "lease"), ("buy", "purchase")),
        unlike=(("rent", "buy"), ("lease", "purchase"))),
    "condition": Attribute(
        "What is {b} is {a}.",
        "What is {b} is not {a}.",
        alike=(("new", "sealed"), ("used", "secondhand")),
        unlike=(("new", "used"), ("sealed", "secondhand"))),
    "kind": Attribute(
        "A {b} product is the real thing.",
        "A {b} product is not the real thing.",
        harmless=("smart", "classic", "slim", "compact"),
        harmful=("toy", "fake", "broken", "miniature"),
        verdicts=("real", "mock")),
    "brand": Attribute(
        "{B} is a sister brand of {A}.",
        "{B} is a rival brand of {A}.",
        alike=(("nova", "orbit"), ("delta", "zenith"), ("lumen", "apex")),
        unlike=(("nova", "delta"), ("zenith", "lumen"), ("apex", "orbit")),
        verdicts=("sister", "rival")),
    "product": Attribute(
        "A {b} is a {a}.",
        "A {b} will not do for a {a}.",
        alike=(("phone", "mobile"), ("laptop", "notebook"), ("sofa", "couch"), ("bike", "bicycle"),
               ("jumper", "sweater")),
        narrower=(("shoe", "boot"), ("shoe", "sneaker"), ("bag", "backpack"), ("table", "desk")),
        unlike=(("phone", "tablet"), ("notebook", "tablet"), ("bicycle", "scooter"),
                ("couch", "bench"), ("bag", "purse"))),
    "extra": Attribute(
        "A {b} offers the product itself.",
        "A {b} goes with the product and is not the product.",
        harmless=("bundle", "store", "outlet", "sale"),
        harmful=("case", "cover", "strap", "manual"),
        verdicts=("whole", "part")),
    "audience": Attribute(
        "What is for {b} suits {a}.",
        "What is for {b} does not suit {a}.",
        alike=(("kids", "junior"),),
        narrower=(("men", "unisex"), ("women", "unisex")),
        unlike=(("men", "women"), ("junior", "women")),
        preposition="for "),
    "city": Attribute(
        "{B} is near {A}.",
        "{B} is far from {A}.",
        alike=(("rome", "ostia"), ("rome", "tivoli"), ("milan", "monza"), ("milan", "como")),
        unlike=(("rome", "milan"), ("ostia", "como"), ("tivoli", "monza"), ("tivoli", "como")),
        verdicts=("near", "far"),
        preposition="in ")}
IN_THE_AD_ALONE = ("kind", "extra")  # checked though the query never names them
MAY_BE_ONE_SIDED = ("deal", "condition", "brand", "audience", "city")
ANSWERS = ("relevant", "irrelevant")
HOUSE_RULES = ["What only one side names is no conflict.",
               "An ad is relevant if no rule speaks against it, else irrelevant."]
SIZES = {"train": 2000, "validation": 500, "test": 500, "ood": 500, "all": 3000}
MOST = 10_000  # questions of a split


def true_facts():
    """attribute -> {(the query's word, the ad's word): does it pass?}.

    For a word that stands in the ad alone, the query's word is "".
    """
    facts = {}
    for name, attribute in ATTRIBUTES.items():
        table = facts[name] = {}
        for a, b in attribute.alike:
            table[a, b] = table[b, a] = True
        for broad, narrow in attribute.narrower:
            table[broad, narrow] = True
            table[narrow, broad] = False
        for word in attribute.harmless:
            table["", word] = True
        for a, b in attribute.unlike:
            table[a, b] = table[b, a] = False
        for word in attribute.harmful:
            table["", word] = False
    return facts


def attributes_by_word():
    """word -> its attribute."""
    attributes = {}
    for name, table in FACTS.items():
        for pair in table:
            attributes |= {word: name for word in pair if word}
    return attributes


FACTS = true_facts()
ATTRIBUTE_OF = attributes_by_word()


def words_of_the_task():
    """Every word of a question or a route. The tiny tokenizer numbers its tokens in this order."""
    verdicts = [attribute.verdicts for attribute in ATTRIBUTES.values()]
    words = [*ATTRIBUTE_OF, "query", "ad", "for", "in", "answer", "is", *ANSWERS, "same", "other"]
    for pair in verdicts:
        words += [verdict for verdict in pair if verdict not in words]
    return words


# For tasks/make_students.py: the tokens of the tiny tokenizer. Behind a token in COMPUTED stands a
# word that the text before it determines.
WORDS = words_of_the_task()
TOKENS = [f" {word}" for word in WORDS]
COMPUTED = ("is",)


def new_question(rng, facts=FACTS):
    """A random question with two to four checks.

    Under these facts half of the questions are relevant. In the others exactly one check fails.
    """
    others = [name for name in facts if name != "product"]
    n_others = rng.choice([1, 2, 2, 3])
    names = ["product", *rng.sample(others, n_others)]
    failing = rng.choice(names) if rng.random() < 0.5 else None
    query, ad = {}, {}
    for name in names:
        wanted = name != failing
        pairs = [pair for pair, passes in facts[name].items() if passes == wanted]
        query[name], ad[name] = rng.choice(pairs)
        if query[name] and wanted and rng.random() < 0.15:
            ad[name] = query[name]  # the same word on both sides
    name = rng.choice(MAY_BE_ONE_SIDED)
    if name not in names and rng.random() < 0.5:
        word, _ = rng.choice(list(facts[name]))
        side = rng.choice([query, ad])
        side[name] = word
    return f"query: {written(query)} ad: {written(ad)}"


def written(side):
    """One side of a question as text. side: attribute -> word."""
    named = [name for name in ATTRIBUTES if side.get(name)]
    return " ".join(ATTRIBUTES[name].preposition + side[name] for name in named)


def read_question(question):
    """The checks a question calls for: [(attribute, the query's word, the ad's word)].

    >>> read_question("query: used phone in rome ad: mobile case in ostia")
    [('product', 'phone', 'mobile'), ('extra', '', 'case'), ('city', 'rome', 'ostia')]
    """
    query_text, ad_text = question.split(" ad: ")
    query = {ATTRIBUTE_OF[word]: word for word in query_text.split() if word in ATTRIBUTE_OF}
    ad = {ATTRIBUTE_OF[word]: word for word in ad_text.split() if word in ATTRIBUTE_OF}
    for name in IN_THE_AD_ALONE:
        query[name] = ""
    named_by_both = [name for name in FACTS if name in query and name in ad]
    return [(name, query[name], ad[name]) for name in named_by_both]


def judge(checks, facts=FACTS):
    """Does each check pass under these facts? Equal words always do."""
    return [a == b or facts[name][a, b] for name, a, b in checks]


def work_out(checks, passes):
    """Write the reasoning that these verdicts give -> (reasoning, answer).

    >>> work_out([("extra", "", "case"), ("city", "rome", "ostia")], [False, True])
    ('case part; rome ostia near; answer is irrelevant.', 'irrelevant')
    """
    relevant, irrelevant = ANSWERS
    steps = []
    for (name, a, b), check_passes in zip(checks, passes):
        good, bad = ATTRIBUTES[name].verdicts
        if a == b:
            good, bad = "same", "other"
        verdict = good if check_passes else bad
        steps.append(f"{a} {b} {verdict};".strip())
    answer = relevant if all(passes) else irrelevant
    return " ".join(steps) + f" answer is {answer}.", answer


def expert_comments(checks):
    """The rules that bear on a question, in plain English."""
    comments = []
    for (name, a, b), passes in zip(checks, judge(checks)):
        if a != b:
            rule = ATTRIBUTES[name].passing if passes else ATTRIBUTES[name].failing
            capitals = {"A": a.capitalize(), "B": b.capitalize()}
            comments.append(rule.format(a=a, b=b, **capitals))
    return comments + HOUSE_RULES


def held_out(checks):
    """Does a question combine two facts that are combined in the split "ood" only?"""
    pairs = itertools.combinations(checks, 2)
    return any(zlib.crc32(repr(pair).encode()) % 8 == 0 for pair in pairs)


def problems(split, limit):
    """Random questions of a split. Raises ValueError if there are fewer than `limit`."""
    if limit > MOST:
        raise ValueError(f"{limit} questions asked for: the ads have {MOST} questions a split")
    rng = random.Random(f"ads {split}")
    found = {}
    while len(found) < limit:
        question = new_question(rng)
        checks = read_question(question)
        if in_split(question, split) and held_out(checks) == (split == "ood"):
            _, answer = work_out(checks, judge(checks))
            found[question] = Problem(question, answer, [], expert_comments(checks))
    return list(found.values())


def teacher(error=0.65, systematic=0.5, seed=0):
    """A simulated teacher that knows each fact of a route with probability 1 - error.

    Where it does not, it judges by the surface with probability `systematic`: another word is
    another thing, and an additional word in the ad makes no difference. This is a misconception.
    Else it tosses a coin, a slip. With the rules in its prompt it reads the facts there.
    """
    def write_route(problem, reads_rules, rng):
        checks = read_question(problem.question)
        passes = judge(checks)
        for i, (_, a, b) in enumerate(checks):
            # All three are always drawn, so later draws do not depend on which of them are used.
            wrong = rng.random() < error
            misled = rng.random() < systematic
            slip = rng.random() < 0.5
            if wrong and not reads_rules and a != b:
                passes[i] = a == "" if misled else slip
        reasoning, _ = work_out(checks, passes)
        return reasoning

    return simulated_teacher(write_route, seed)


def example(rng):
    """(prompt, completion) of the pretraining corpus, under facts of this example's own.

    The verdicts of each attribute are dealt to its pairs anew, so there is no fact to learn. The
    student takes each verdict from a random route: it learns to copy, and not from whom.
    """
    facts = {}
    for name, table in FACTS.items():
        dealt = rng.sample(list(table.values()), len(table))
        facts[name] = dict(zip(table, dealt))
    question = new_question(rng, facts)
    checks = read_question(question)
    truth = judge(checks, facts)
    error_rates = []  # of the routes, for each check
    for _, a, b in checks:
        rate = rng.random() * 0.7
        error_rates.append(rate if a != b else 0.0)
    routes, route_passes = [], []
    for _ in range(rng.choice([0, 0, 1, 2, 3, 3, 4])):
        passes = []
        for true_verdict, rate in zip(truth, error_rates):
            wrong = rng.random() < rate
            passes.append(not true_verdict if wrong else true_verdict)
        text, answer = work_out(checks, passes)
        routes.append(Route(text, answer, False))
        route_passes.append(passes)
    passes = []
    for i, true_verdict in enumerate(truth):
        passes.append(rng.choice(route_passes)[i] if routes else true_verdict)
    text, answer = work_out(checks, passes)
    scores = corpus_scores(routes, answer, rng)
    return mrpv_prompt(question, routes), demonstration(text, answer, scores)
