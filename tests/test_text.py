"""What a student imitates: every target is read back to exactly what was meant."""
import json
import random
import re
from pathlib import Path

import pytest

from tasks import ads, gsm8k, shop
from data import load_problems, make_routes
from engine.text import harmless, reasoning_only, settled, without_tags
from realm import Response, demonstration, parse_response

GSM8K = Path(__file__).resolve().parents[2] / "shared" / "data" / "gsm8k"
LITTER = re.compile(r"[<(][\s/]*(?:think|answer|scores)\s*[>)]|<\||\|>", flags=re.IGNORECASE)
ENDINGS = [  # a closing answer, in the ways of real teachers
    "\n<answer>5</answer>", "\nSo <answer>5</answer>.", "\n<answer>5</answer>\nI hope this helps!",
    " <answer>5</answer>",
    "\n#### 5", "\n#### 5\nThanks!", "\n\\boxed{5}", "\n\\[\n\\boxed{5}\n\\]",
    "\nThe final answer is: $\\boxed{5}$. I hope it is correct.",
    "\n**<answer>5</answer>**", "\n<answer>\\boxed{5}</answer>", "\n\\boxed{<answer>5</answer>}",
    "\nA: 5", "\n**Final Answer:** 5",
    "\nFinal answer: <answer>5</answer>", "\n```\n<answer>5</answer>\n```",
    "\n<answer>5</answer>\n<answer>5</answer>",
    "\n<answer>5", "\n<ANSWER> 5 </ANSWER>", "\n<answer>5</answer></s><|im_end|>",
    "\n<scores>1, 0</scores>\n<answer>5</answer>",
    " Therefore, the final answer is <answer>5</answer>", "\n(answer)5(/answer)",
    "\n<answer id=1>5</answer>", "\n<answer\n>5</ answer>", "\n<answer>5</answer></answer>",
    "\n[ANSWER]5[/ANSWER]", "\n&lt;answer&gt;5&lt;/answer&gt;", "\n\\<answer\\>5\\</answer\\>",
    "\n<final_answer>5</final_answer>", "\n```xml\n<answer>5</answer>\n```",
    "\n## Final answer: 5", "\n### Final Answer\n\n5",
    "\n<answer>5</answer><\uff5cend\u2581of\u2581sentence\uff5c>"]
THINKING = ["%s", "<think>%s</think>", "<think>\n%s\n</think>\n", "<think></think>\n%s",
            "(think)%s(/think)", "<Think>%s</Think>", "<thinking>%s</thinking>",
            "<reasoning>%s</reasoning>", "[THINK]%s[/THINK]", "<think/>%s",
            "\u25c1think\u25b7%s\u25c1/think\u25b7"]


def assert_read_back(route, answer="5", scores=(1.0, 0.0)):
    reasoning = reasoning_only(route)
    target = demonstration(reasoning, answer, list(scores))
    assert parse_response(target, len(scores)) == Response(reasoning, answer, list(scores)), route
    assert not LITTER.search(reasoning), route
    assert harmless(reasoning) == reasoning == reasoning.strip(), route


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("thinking", THINKING)
def test_a_closing_answer_and_a_thinking_block_leave_nothing_behind(ending, thinking):
    body = "She has 2 eggs.\n2 + 3 = 5."
    for route in (thinking % body + ending, thinking % (body + ending)):
        assert reasoning_only(route) == body
        assert_read_back(route)


@pytest.mark.parametrize("route, reasoning", [
    # The sentence needs its answer.
    ("She has <answer>5</answer> eggs left.\nDone.", "She has 5 eggs left."),
    ("2 + 3 = <answer>5</answer>", "2 + 3 = 5"), ("2 + 3 = \\boxed{5}", "2 + 3 = 5"),
    ("total 84 <answer>84</answer>", "total 84"),
    ("<answer>5</answer> because 2 + 3 = 5.", "because 2 + 3 = 5."), ("<answer>5</answer>", "5"),
    ("#### 5", "#### 5"), ("", ""),
    ("<think>maybe <answer>5</answer>? no</think><answer>6</answer>", "maybe 5? no"),
    # These are headings.
    ("#### Step 1\n2 + 2 = 4\n#### Step 2\n4 + 1 = 5",
     "#### Step 1\n2 + 2 = 4\n#### Step 2\n4 + 1 = 5"),
    ("<think>2 + 3</think>\n\nThe sum is 5.\n<answer>5</answer>", "2 + 3\nThe sum is 5."),
    ("a < b and <answer>5 < 6</answer>", "a < b and"),
    ("A: 5\nis what\nI say", "A: 5\nis what\nI say"), ("no answer here", "no answer here")])
def test_the_reasoning_of_a_route(route, reasoning):
    assert reasoning_only(route) == reasoning
    assert_read_back(route)


def test_every_target_is_read_back_whatever_the_route_holds():
    rng = random.Random(0)
    pieces = ["<think>", "</think>", "<answer>", "</answer>", "<scores>", "</scores>",
              "< / Answer >", "(answer)", "(/think)", "<an", "swer>",
              "<<answer>answer>", "<<1+1=2>>", "<<", ">>", "<|im_end|>", "<|", "|>", "</s>",
              "[INST]", "####", "#### 5", "\\boxed{", "}", "5", "\n",
              " ", "=", "Route 1:", "Problem:", "Solution", ":", "So", ".", "A: 5", "<", ">", "/",
              "İ", "\u2028", "x"]
    for _ in range(6000):
        route = "".join(rng.choices(pieces, k=rng.randint(0, 14)))
        assert_read_back(route, scores=rng.choice([(1.0,), (0.0, 1.0)]))


def test_markup_nested_ever_so_deep_leaves_nothing_behind():
    for route in ("<<" * 9 + "1=1>>" * 9, "<answer" * 9 + ">" * 9,
                  "<an" * 9 + "<answer>" + "swer>" * 9):
        assert_read_back("so " + route)
        assert_read_back(route)


def test_an_answer_in_a_target_holds_no_tag():
    answers = {
        "<answer>5</answer>": "5", "5": "5", " 1,000": "1,000", "(answer)B(/answer)": "B",
        "5<|im_end|>": "5", "Solution: acid": "Solution: acid", "Route 2: by rail":
        "Route 2: by rail"}
    for answer, kept in answers.items():
        assert parse_response(demonstration("r", answer)) == Response("r", kept, None)
    assert without_tags("<an<answer>swer>5") == " - 5" and settled(" a ") == "a"


def test_targets_of_the_built_in_tasks_are_the_routes_themselves():
    for task, teacher in (("shop", shop.teacher()), ("ads", ads.teacher())):
        for problem in make_routes(load_problems(task, "train", 60), teacher, 3):
            for route in problem.routes:
                assert reasoning_only(route.text) == harmless(route.text).strip()


@pytest.mark.skipif(not GSM8K.is_dir(), reason="needs ../shared/data/gsm8k")
def test_targets_of_gsm8k_are_the_steps_before_the_hashes():
    problems = load_problems("gsm8k", "train", 1500, data=GSM8K)
    simulated = make_routes(problems[:200], gsm8k.teacher(), 3)
    for problem in problems + simulated:
        for route in problem.routes:
            steps = route.text.rpartition("\n#### ")[0]
            assert reasoning_only(route.text) == harmless(steps).strip()
            assert_read_back(route.text, problem.answer)
    for line in (GSM8K / "model_solutions_6b.jsonl").read_text(encoding="utf-8").splitlines():
        for solution in json.loads(line)["solutions"]:
            assert_read_back(solution["solution"])


@pytest.mark.parametrize("tag", ["th\u0130nk", "THINK", "an\u017fwer", "thin\u212a", "\u017fcores"])
def test_letters_that_unicode_takes_for_those_of_a_tag_do_no_harm(tag):
    """Without regard to case, a pattern takes them for i, s and k. Found by tests/fuzz.py."""
    route = f"<{tag}> 6 x 3 = 18</{tag}>\n18 is it"
    assert_read_back(route)


def test_a_tag_that_comes_together_when_another_is_taken_out_leaves_no_litter():
    """Found by tests/fuzz.py."""
    assert_read_back("<t<<1+1=2></scores>>hink> 6 x 3 = 18</think>\n<answer> 1,000</a/a/answer>")
