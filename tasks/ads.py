"""The built-in task "ads": does a search ad answer the query? A vertical domain whose expert rules the student has never seen.

    query: used phone in rome ad: mobile case in ostia  ->  phone mobile same; case part; rome ostia near; answer is irrelevant.

Every attribute that both sides name is checked; one that fails makes the ad irrelevant. The facts (PAIRS) are secret, and
words alone mislead: one thing has two names, and an accessory carries the product's. The split "ood" holds pairs of facts
that stand together in no other split, while each fact by itself does: it tests the rules, not the examples.
"""
import itertools
import random
import zlib

from realm import Problem, Route, demonstration, mrpv_prompt

# attribute -> (what passes, what fails), in the order of a question. A pair holds both ways round, but "shoe > boot" passes for
# the query "shoe" and fails for the query "boot". A single word stands in the ad alone and says something of its product.
PAIRS = {
    "deal": ("rent lease, buy purchase", "rent buy, lease purchase"),
    "condition": ("new sealed, used secondhand", "new used, sealed secondhand"),
    "kind": ("smart, classic, slim, compact", "toy, fake, broken, miniature"),
    "brand": ("nova orbit, delta zenith, lumen apex", "nova delta, zenith lumen, apex orbit"),
    "product": ("phone mobile, laptop notebook, sofa couch, bike bicycle, jumper sweater, shoe > boot, shoe > sneaker, "
                "bag > backpack, table > desk", "phone tablet, notebook tablet, bicycle scooter, couch bench, bag purse"),
    "extra": ("bundle, store, outlet, sale", "case, cover, strap, manual"),
    "audience": ("kids junior, men > unisex, women > unisex", "men women, junior women"),
    "city": ("rome ostia, rome tivoli, milan monza, milan como", "rome milan, ostia como, tivoli monza, tivoli como")}
EXPERTS = {  # what they say of a pair (a: the query's word, b: the ad's) that passes, and of one that fails
    "deal": ("To {b} is to {a}.", "To {b} is not to {a}."),
    "condition": ("What is {b} is {a}.", "What is {b} is not {a}."),
    "kind": ("A {b} product is the real thing.", "A {b} product is not the real thing."),
    "brand": ("{B} is a sister brand of {A}.", "{B} is a rival brand of {A}."),
    "product": ("A {b} is a {a}.", "A {b} will not do for a {a}."),
    "extra": ("A {b} offers the product itself.", "A {b} goes with the product and is not the product."),
    "audience": ("What is for {b} suits {a}.", "What is for {b} does not suit {a}."),
    "city": ("{B} is near {A}.", "{B} is far from {A}.")}
HOUSE_RULES = ["What only one side names is no conflict.", "An ad is relevant if no rule speaks against it, else irrelevant."]
VERDICTS = {"kind": ("real", "mock"), "brand": ("sister", "rival"), "extra": ("whole", "part"), "city": ("near", "far")}
SAME, ANSWERS = ("same", "other"), ("relevant", "irrelevant")  # SAME: the verdicts of all other attributes, and of equal words


def true_facts():
    """attribute -> {(the query's word, the ad's word): does it pass?}; for single words the query's is empty."""
    facts = {name: {} for name in PAIRS}
    for name in PAIRS:
        for passes, text in zip((True, False), PAIRS[name]):
            for words in map(str.split, text.split(", ")):
                a, b = words[0] if len(words) > 1 else "", words[-1]
                facts[name][a, b] = passes
                if a:
                    facts[name][b, a] = passes and ">" not in words
    return facts


FACTS = true_facts()
ATTRIBUTE = {word: name for name in FACTS for pair in FACTS[name] for word in pair if word}
WORDS = [*ATTRIBUTE, "query", "ad", "for", "in", "answer", "is", *ANSWERS, *SAME, *sum(VERDICTS.values(), ())]
TOKENS = [*(f" {word}" for word in WORDS)]  # of the base
COMPUTED = ("is",)  # what stands behind it follows from what stands before


def new_question(rng, facts=FACTS):
    """A random query and ad with two to four checks: half of them relevant under these facts, the others not for one reason."""
    names = ["product", *rng.sample([name for name in facts if name != "product"], rng.choice([1, 2, 2, 3]))]
    failing, query, ad = rng.choice(names) if rng.random() < 0.5 else None, {}, {}
    for name in names:
        a, b = rng.choice([pair for pair, passes in facts[name].items() if passes == (name != failing)])
        query[name], ad[name] = a, a if a and name != failing and rng.random() < 0.15 else b
    name = rng.choice(["deal", "condition", "brand", "audience", "city"])
    if name not in names and rng.random() < 0.5:  # named by one side only: no conflict
        rng.choice([query, ad])[name] = rng.choice(list(facts[name]))[0]
    told = [" ".join({"audience": "for ", "city": "in "}.get(name, "") + side[name] for name in facts if side.get(name))
            for side in (query, ad)]
    return f"query: {told[0]} ad: {told[1]}"


def read_question(question):
    """The checks a question calls for: [(attribute, the query's word, the ad's word)].

    >>> read_question("query: used phone in rome ad: mobile case in ostia")
    [('product', 'phone', 'mobile'), ('extra', '', 'case'), ('city', 'rome', 'ostia')]
    """
    query, ad = ({ATTRIBUTE[word]: word for word in side.split() if word in ATTRIBUTE} for side in question.split(" ad: "))
    query |= {"kind": "", "extra": ""}
    return [(name, query[name], ad[name]) for name in FACTS if name in query and name in ad]


def judge(checks, facts=FACTS):
    """The verdict of each check under these facts: does it pass? Equal words always do."""
    return [a == b or facts[name][a, b] for name, a, b in checks]


def work_out(checks, passes):
    """Write the reasoning that the verdicts of the checks give -> (reasoning, answer).

    >>> work_out([("extra", "", "case"), ("city", "rome", "ostia")], [False, True])
    ('case part; rome ostia near; answer is irrelevant.', 'irrelevant')
    """
    steps = [f"{a} {b} {(SAME if a == b else VERDICTS.get(name, SAME))[not p]};" for (name, a, b), p in zip(checks, passes)]
    answer = ANSWERS[not all(passes)]
    return " ".join(step.strip() for step in steps) + f" answer is {answer}.", answer


def expert_comments(checks):
    """The rules that bear on a question, in plain English."""
    return [EXPERTS[name][not passes].format(a=a, b=b, A=a.capitalize(), B=b.capitalize())
            for (name, a, b), passes in zip(checks, judge(checks)) if a != b] + HOUSE_RULES


def held_out(checks):
    """Does it hold two facts that are kept apart in training?"""
    return any(zlib.crc32(repr(pair).encode()) % 8 == 0 for pair in itertools.combinations(checks, 2))


SIZES = {"train": 2000, "validation": 500, "test": 500, "ood": 500, "all": 3000}  # problems of a split, unless told otherwise


def problems(split, limit):
    """Which split a question is in is a hash of its text, so that no two splits share one; "ood" holds what is held out."""
    if limit > 10_000:
        raise ValueError(f"{limit} questions asked for: the ads have 10000 questions a split")
    rng, found = random.Random(f"ads {split}"), {}
    share = {"train": range(0, 80), "validation": range(80, 90), "test": range(90, 100), "ood": range(100)}[split]
    while len(found) < limit:
        question = new_question(rng)
        checks = read_question(question)
        if zlib.crc32(question.encode()) % 100 in share and held_out(checks) == (split == "ood"):
            found[question] = Problem(question, work_out(checks, judge(checks))[1], [], expert_comments(checks))
    return list(found.values())


def teacher(error=0.5, systematic=0.5, seed=0):
    """A teacher who knows each fact of a route with probability 1 - error. Else it judges by the surface with probability
    `systematic` (one misconception: another word is another thing, and a word more makes no difference), or by the
    flip of a coin (a slip). With the rules in its prompt it reads the facts there."""
    def teach(problems, guided):
        written = []
        for problem, flags in zip(problems, guided):
            rng, checks = random.Random(f"teacher {seed} {problem.question}"), read_question(problem.question)
            written.append([])
            for reads_rules in flags:
                passes = judge(checks)
                for i, (name, a, b) in enumerate(checks):
                    wrong, misled, slip = rng.random() < error, rng.random() < systematic, rng.random() < 0.5
                    if wrong and not reads_rules and a != b:
                        passes[i] = a == "" if misled else slip
                written[-1].append(work_out(checks, passes)[0])
        return written
    return teach


def example(rng):
    """(prompt, completion) of the pretraining corpus: the verdicts of each attribute are dealt to its pairs anew."""
    facts = {name: dict(zip(table, rng.sample(list(table.values()), len(table)))) for name, table in FACTS.items()}
    question = new_question(rng, facts)
    checks = read_question(question)
    truth, routes = judge(checks, facts), []
    error = [rng.random() * 0.7 * (a != b) for _, a, b in checks]  # how often the routes get each check wrong
    for _ in range(rng.choice([0, 0, 1, 2, 3, 3, 4])):
        passes = [p != (rng.random() < e) for p, e in zip(truth, error)]
        routes.append((Route(*work_out(checks, passes), False), passes))
    passes = [rng.choice(routes)[1][i] if routes else p for i, p in enumerate(truth)]  # each verdict from a random route
    text, answer = work_out(checks, passes)
    scores = None
    if routes:
        agree = rng.random() < 0.5  # half the time the scores are what agrees with the student, half the time noise
        scores = [float(r.answer == answer) if agree else float(rng.random() < 0.5) for r, _ in routes]
    return mrpv_prompt(question, [r for r, _ in routes]), demonstration(text, answer, scores)
