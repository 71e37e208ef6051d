"""Tasks: where questions, gold answers and simulated teachers come from.

    shop.py, ads.py     two tasks in a tiny language, for the students in assets/
    market.py           the shop in plain English, for a real pretrained model
    warmup.py           a cold start for market.py that tells none of its prices
    gsm8k.py            GSM8K: the download, and a teacher that makes mistakes in gold solutions
    gsm8k_mistakes.py   how such a mistake is made
    make_students.py    how the tiny students were made
    shop_checks.py, shop_recall.py      the corpora of two more students for the shop
    exercises.py        functions of the method to write oneself; exercise_checks.py checks them

A built-in task is a module with three names. data.BUILT_IN lists the modules.

    SIZES                               split -> the number of its problems, unless the user says
    problems(split, limit)              list[Problem], without routes
    teacher(error, systematic, seed)    a simulated teacher (see simulated_teacher)

Promise: the same arguments give the same text on every machine. No question is in two splits.
To read: the helpers below, then shop.py, which is the simplest task.
tests/test_data.py holds the tasks to that.
"""
import random
import zlib


def in_split(question, split):
    """Does this question belong to this split? A hash of its text decides.

    80 of 100 questions are for training, 10 for validation and 10 for the test. The split "ood"
    takes every question: its task makes other questions for it.
    """
    place = zlib.crc32(question.encode()) % 100
    if split == "train":
        return place < 80
    if split == "validation":
        return 80 <= place < 90
    if split == "test":
        return place >= 90
    return True


def simulated_teacher(write_route, seed):
    """Make a teacher of a function that writes one route.

    write_route(problem, reads_rules, rng) -> text. reads_rules says whether the expert rules are
    in the teacher's prompt. A teacher is a function (problems, guided) -> texts, where
    guided[i][j] and texts[i][j] belong to route j of problem i. Seed and question decide the text,
    nothing else does.
    """
    def teach(problems, guided):
        texts = []
        for problem, flags in zip(problems, guided):
            rng = random.Random(f"teacher {seed} {problem.question}")
            texts.append([write_route(problem, reads_rules, rng) for reads_rules in flags])
        return texts
    return teach


def price_teacher(prices, last_year, slip, read_order, work_out, error, systematic, seed):
    """A simulated teacher that knows each price of a route with probability 1 - error.

    Where it does not, it states last year's price with probability `systematic`. This is a
    misconception: wrong answers coincide, and a majority vote fails. Else it states
    slip(rng, item), a random price. With the rules in its prompt it reads the true prices there.
    read_order(question) and work_out(order, prices) are the task's.
    """
    def write_route(problem, reads_rules, rng):
        order = read_order(problem.question)
        believed = {}
        for _, item in order:
            # All three are always drawn, so later draws do not depend on which of them are used.
            wrong = rng.random() < error
            misled = rng.random() < systematic
            random_price = slip(rng, item)
            if reads_rules or not wrong:
                believed[item] = prices[item]
            elif misled:
                believed[item] = last_year[item]
            else:
                believed[item] = random_price
        reasoning, _ = work_out(order, believed)
        return reasoning

    return simulated_teacher(write_route, seed)


def corpus_scores(routes, answer, rng):
    """Scores in an example of the pretraining corpus: one per route, None without routes.

    In half of the examples a route scores 1 if its answer is the student's. In the others the
    scores are random. So the base can write scores, and does not yet know what they are for.
    """
    if not routes:
        return None
    if rng.random() < 0.5:
        return [float(route.answer == answer) for route in routes]
    return [float(rng.random() < 0.5) for _ in routes]
