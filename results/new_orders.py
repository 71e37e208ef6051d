"""How new are the shop's test orders? `python -m results.new_orders RUN...`

Splits share no text. But a test order may be a training order in another sequence, with the same
items and the same total. Of the test orders with three items: are students better at those?
"""
import statistics

from data import load_problems
from eval import evaluate
from grpo import load_policy
from results.command import measure_runs
from results.sweep import spread


def items(problem):
    """The items of an order, in a fixed sequence."""
    return tuple(sorted(problem.question.split(", ")))


def accuracy(model, tokenizer, problems):
    """Accuracy without routes."""
    return evaluate(model, tokenizer, problems, routes=0)["alone"]["accuracy"]


def main(runs):
    """Print how many test orders are known, and the accuracy on known and on new ones."""
    seen = {items(problem) for problem in load_problems("shop", "train")}
    asked = load_problems("shop", "test", 300)
    longer = load_problems("shop", "ood", 300)
    n_asked = sum(items(problem) in seen for problem in asked)
    n_longer = sum(items(problem) in seen for problem in longer)
    print(f"{n_asked} of {len(asked)} test orders and {n_longer} of {len(longer)} longer ones are "
          "training orders in another sequence")

    known = []
    new = []
    for problem in asked:
        if len(items(problem)) == 3:
            (known if items(problem) in seen else new).append(problem)
    of_known = []
    of_new = []
    for run in runs:
        model, tokenizer = load_policy(run)
        of_known.append(accuracy(model, tokenizer, known))
        of_new.append(accuracy(model, tokenizer, new))
        print(f"{run}: without routes, of {len(known)} known ones {of_known[-1]:.3f}, "
              f"of {len(new)} new ones {of_new[-1]:.3f}")
    differences = [a - b for a, b in zip(of_known, of_new)]
    print(f"means {statistics.mean(of_known):.3f}, {statistics.mean(of_new):.3f}; "
          f"difference {spread(differences)}")


if __name__ == "__main__":
    measure_runs("new_orders", __doc__, main)
