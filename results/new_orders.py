"""How new are the shop's test orders? python -m results.new_orders RUN...

Splits share no text, but an order may be one of the training orders in another sequence, with the same items and the same total.
Of the test orders with three items: are students better at those than at the others?
"""
import statistics

from data import load_problems
from eval import evaluate
from grpo import load_policy
from results.command import measure_runs
from results.sweep import spread


def items(problem):
    return tuple(sorted(problem.question.split(", ")))


def main(runs):
    seen = {items(p) for p in load_problems("shop", "train")}
    asked = load_problems("shop", "test", 300)
    longer = load_problems("shop", "ood", 300)
    print(f"{sum(items(p) in seen for p in asked)} of {len(asked)} test orders and {sum(items(p) in seen for p in longer)} of {len(longer)} longer "
          "ones are training orders in another sequence")
    kinds = [[p for p in asked if len(items(p)) == 3 and (items(p) in seen) == known] for known in (True, False)]
    accuracy = [[evaluate(*load_policy(run), some, routes=0)["alone"]["accuracy"] for some in kinds] for run in runs]
    for run, (known, new) in zip(runs, accuracy):
        print(f"{run}: without routes, of {len(kinds[0])} known ones {known:.3f}, of {len(kinds[1])} new ones {new:.3f}")
    print(f"means {statistics.mean(a for a, _ in accuracy):.3f}, {statistics.mean(b for _, b in accuracy):.3f}; difference {spread([a - b for a, b in accuracy])}")


if __name__ == "__main__":
    measure_runs("new_orders", __doc__, main)
