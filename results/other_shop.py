"""A shop of another size, as a bank: `python -m results.other_shop --items 4 --out FOLDER`.

The built-in shop sells six items, and an order has two or three. Here the numbers are free, so that
a rule found in one shop can be tested in another (results/open_questions/O2.md). Training orders
may have a single item (--fewest 1). Items, prices and the teacher are those of tasks/shop.py, so
that its tiny student speaks the language.

The folder holds train.jsonl and test.jsonl. Orders that are tested have as many items as the
largest training orders, and none of them is trained on, in whatever sequence of its items.

Promise: the same flags give the same bank, and labels follow the true prices.
tests/test_variants.py holds this file to that.
"""
import argparse
import itertools
import json
import random
from dataclasses import asdict
from pathlib import Path

from data import make_routes
from realm import Problem
from tasks.shop import ITEMS, price_lists, read_order, teacher, work_out


def orders(items, size):
    """Every order of `size` of these items, one to three of each -> a list of lists of texts. Texts
    that differ only in the sequence of their items are in one list."""
    found = []
    for chosen in itertools.combinations(items, size):
        for quantities in itertools.product((1, 2, 3), repeat=size):
            parts = [f"{quantity} {item}" for quantity, item in zip(quantities, chosen)]
            found.append([", ".join(way) for way in itertools.permutations(parts)])
    return found


def other_shop(items, facts, known, n, fewest=1, seed=0, held_out=100, most=400):
    """(train, test): problems of a shop that sells the first `items` items, with n routes each.

    Training orders have `fewest` to `facts` items, equally many of each number: a short order
    occurs several times. Test orders have `facts` items. `held_out` texts are tested, or a third
    of all if these are fewer; at most `most` are trained on.
    known: q, how often the teacher knows a price.
    """
    rng = random.Random(f"another shop {items} {facts}")
    longest = orders(ITEMS[:items], facts)
    rng.shuffle(longest)
    ways = len(longest[0])  # sequences of the same items
    n_tested = min(len(longest) // 3, -(-held_out // ways))
    tested = [text for order in longest[:n_tested] for text in order]
    trained = [text for order in longest[n_tested:] for text in order][:most]
    texts = list(trained)
    for size in range(fewest, facts):
        smaller = [text for order in orders(ITEMS[:items], size) for text in order]
        texts += itertools.islice(itertools.cycle(smaller), len(trained))
    train = taught(texts, known, n, seed)
    test = taught(tested, known, n, seed)
    return train, test


def taught(questions, known, n, seed):
    """Problems of these questions, each with n routes of the shop's own simulated teacher."""
    prices, _ = price_lists()
    problems = []
    for question in questions:
        _, total = work_out(read_order(question), prices)
        problems.append(Problem(question, str(total)))
    return make_routes(problems, teacher(1 - known, seed=seed), n)


def write_folder(folder, train, test):
    """Write a bank that train.py and eval.py take as --bank."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, problems in (("train", train), ("test", test)):
        lines = [json.dumps(asdict(problem)) for problem in problems]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=4, help="items the shop sells, at most 16")
    parser.add_argument("--facts", type=int, default=2, help="items of the largest orders")
    parser.add_argument("--fewest", type=int, default=1, help="items of the smallest orders")
    parser.add_argument("--known", type=float, default=0.35, help="q, how often the teacher knows "
                        "a price")
    parser.add_argument("--n", type=int, default=16, help="routes of a question")
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    args = parser.parse_args()
    if not 1 <= args.fewest <= args.facts <= args.items <= len(ITEMS):
        parser.error("--fewest must be at most --facts, --facts at most --items, and --items at "
                     f"most {len(ITEMS)}")
    train, test = other_shop(args.items, args.facts, args.known, args.n, args.fewest)
    write_folder(args.out, train, test)
    print(f"{len(train)} training questions, {len(test)} test questions: {args.out}")


if __name__ == "__main__":
    main()
