"""Other ways to show routes and to take them away: `python -m results.variants NAME [flags]`.

The flags are those of train.py. A variant replaces what a prompt carries, and nothing else.

*Curricula* (open question 3). ReaLM lets the presence of routes fade: a prompt carries k routes
with probability p(t), or none. c(t) is EAAI's cosine, which falls from 1 to 0.

    tail      p = max(c, 0.1): a few prompts carry routes to the end
    error     p = c, and the share of wrong routes among the k rises as 1 - c
    error-on  p = 1, and the share of wrong routes rises as 1 - c: quality fades, presence does not
    thinned   p = 1, and each of the k routes is left out with probability 1 - c, so that every
              number from k to 0 is shown at any time
    paced     p falls evenly, but only after steps in which the student is right with routes half
              of the time and a tenth of the groups are live; it waits after the others
    shorter   p = 1, and each route is cut behind a share c of its steps, rounded up or down at
              random; a prompt of which no step is left carries no routes

*A selection* (open question 1), beside --selection and --error-ratio:

    never-agree  random, but drawn again until two of the k have different answers, if the bank can

Promise: all else is train.py as it is.
To read: VARIANTS. results/questions.py runs them.
tests/test_variants.py holds this file to that.
"""
import sys
from dataclasses import replace

import train
from realm import choose_routes
from results.command import help_was_asked
from schedule import eaai_probability


class Variant:
    """The method itself. A variant overrides a part of it."""
    config = None  # the run's flags
    step = 0       # the RL step that is under way

    def c(self):
        """The cosine of EAAI at this step."""
        return eaai_probability(self.step, self.config.steps, fade=self.config.fade)

    def probability(self):
        """p(t), the probability that a prompt carries routes."""
        return self.c()

    def routes(self, problem, rng):
        """The routes that a prompt carries."""
        return self.draw(problem, rng)

    def draw(self, problem, rng, error_ratio=None):
        """k routes of the problem, by default as the flags say."""
        config = self.config
        error_ratio = config.error_ratio if error_ratio is None else error_ratio
        return choose_routes(problem.routes, config.routes, rng, error_ratio, config.selection)

    def look(self, metrics):
        """See the metrics of the step that is over."""


# ---- curricula -----------------------------------------------------------------------------------
class Tail(Variant):
    def probability(self):
        return max(self.c(), 0.1)


class Error(Variant):
    def routes(self, problem, rng):
        return self.draw(problem, rng, error_ratio=1 - self.c())


class ErrorOn(Error):
    def probability(self):
        return 1.0


class Thinned(Variant):
    def probability(self):
        return 1.0

    def routes(self, problem, rng):
        return [route for route in self.draw(problem, rng) if rng.random() < self.c()]


class Shorter(Variant):
    def probability(self):
        return 1.0

    def routes(self, problem, rng):
        n = rounded(len(steps_of(problem.routes[0].text)) * self.c(), rng)
        if n == 0:
            return []
        return [first_steps(route, n) for route in self.draw(problem, rng)]


class Paced(Variant):
    p = 1.0
    right = 0.0  # running means: the share of right answers with routes,
    live = 0.0   # and the share of live groups

    def probability(self):
        return self.p

    def look(self, metrics):
        if metrics["answer_routes"] is not None:
            self.right += 0.2 * (metrics["answer_routes"] - self.right)
        self.live += 0.2 * (metrics["live"] - self.live)
        if self.right >= 0.5 and self.live >= 0.1:
            self.p = max(0.0, self.p - 2 / self.config.steps)  # from 1 to 0 in half of the training


# ---- selections ----------------------------------------------------------------------------------
class NeverAgree(Variant):
    def routes(self, problem, rng):
        for _ in range(20):
            drawn = self.draw(problem, rng)
            if len({route.answer for route in drawn}) > 1:
                break
        return drawn


VARIANTS = {"tail": Tail, "error": Error, "error-on": ErrorOn, "thinned": Thinned, "paced": Paced,
            "shorter": Shorter, "never-agree": NeverAgree}


def rounded(x, rng):
    """x, rounded up or down at random so that its mean is x."""
    return int(x) + (rng.random() < x - int(x))


def steps_of(text):
    """The steps of a route of the shop: one for each item, then the total.

    >>> steps_of("tea @40 x 2 = 80 sum 80; jam @25 x 2 = 50 sum 130; total 130 - 10 = 120.")
    ['tea @40 x 2 = 80 sum 80;', 'jam @25 x 2 = 50 sum 130;', 'total 130 - 10 = 120.']
    """
    *items, total = text.split("; ")
    return [f"{item};" for item in items] + [total]


def first_steps(route, n):
    """The route, cut behind its step n. Its label stays that of the whole route."""
    return replace(route, text=" ".join(steps_of(route.text)[:n]))


def install(variant):
    """Let train.py show what this Variant shows."""
    one_step = train.rl_step

    def rl_step(model, tokenizer, reference, optimizer, problems, config, step, *team):
        variant.config, variant.step = config, step
        found = one_step(model, tokenizer, reference, optimizer, problems, config, step, *team)
        variant.look(found[0])
        return found

    train.rl_step = rl_step
    train.route_probability = lambda config, step: variant.probability()
    train.draw_routes = lambda problem, config, rng, k: variant.routes(problem, rng)


def main():
    if help_was_asked(__doc__):
        return
    if len(sys.argv) < 2 or sys.argv[1] not in VARIANTS:
        sys.exit(f"results.variants: name one of {', '.join(VARIANTS)}, then flags of train.py")
    install(VARIANTS[sys.argv[1]]())
    train.main(sys.argv[2:])


if __name__ == "__main__":
    main()
