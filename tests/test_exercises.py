"""Each exercise accepts the project's own function, and calls usual mistakes by their names."""
import re
import subprocess
import sys

import pytest

from tasks import exercises
from tasks.exercise_checks import CHECKS
from tasks.exercises import BY_NAME, ROOT, judge

# function, what stands in the project, what a student wrote, words of the verdict
WRONG = [
    ("eaai_probability", "(1 + math.cos(", "(1 - math.cos(", "sign of the cosine"),
    ("eaai_probability", "round(fade * total_steps, 9)", "total_steps", "`fade` is not used"),
    ("eaai_probability", "min(1.0, step / fade_steps)", "step / fade_steps", "comes up again"),
    ("eaai_probability", "start * remaining + end * (1 - remaining)",
     "end * remaining + start * (1 - remaining)", "swapped"),
    ("eaai_probability", " if fade_steps else 1.0", "", "ZeroDivisionError"),
    ("eaai_probability", "step / fade_steps", "(step + 1) / fade_steps", "a step too early"),
    ("eaai_probability", "round(fade * total_steps, 9)", "fade * (total_steps - 1)",
     "ends a step too early"),
    ("eaai_probability", "    fade_steps = ", "    if step >= fade * total_steps: return end\n"
     "    fade_steps = ", "shape constant"),
    ("eaai_probability", "if not all(0.0 <= x <= 1.0 for x in (start, end, fade)):",
     "if not 0.0 <= fade <= 1.0:", "a start of 1.5"),
    ("utility_score", "sum(means) / len(means)",
     "sum(fit_of_positive + fit_of_negative) / len(scores)", "mean of the right ones"),
    ("utility_score", "1.0 - abs(s - 0)", "abs(s - 0)", "where 1.0 is right"),
    ("utility_score", "1.0 - abs(s - 1)", "1.0 - (s - 1) ** 2", "right, wrong, wrong"),
    ("utility_score", "if fits]\n", "if fits]\n    means = means + [0.0] * (2 - len(means))\n",
     "counts as 0"),
    ("realm_reward", "gate = answer if two_stage else 1.0", "gate = 1.0", "its scores are paid"),
    ("realm_reward", "gate * utility_weight * utility", "gate * utility", "weight is not used"),
    ("realm_reward", "has_reasoning and answers_match", "answers_match", "without its reasoning"),
    ("realm_reward", "complete = has_reasoning and", "complete =", "no reasoning, and then"),
    ("realm_reward", "answers_match(response.answer, gold)", "(response.answer == gold)",
     "compared as text"),
    ("mrpv_prompt", "start=1", "start=0", "numbered from 0"),
    ("mrpv_prompt", "harmless(text)", "text", "as they are"),
    ("mrpv_prompt", "MRPV_INSTRUCTION if routes else PLAIN_INSTRUCTION", "MRPV_INSTRUCTION",
     "PLAIN_INSTRUCTION"),
    ("parse_response", 'tagged("answer", reply)', 'tagged("answer", text)',
     "only an answer inside the reasoning .*: it was taken"),
    ("parse_response", "parse_scores(reply, n_routes) if n_routes else None",
     "[float(x) for x in (tagged('scores', reply) or '0').split(',')]", "exactly one score"),
    ("parse_response", "and not before.strip()", "", "must begin with <think>"),
    ("parse_response", "parse_scores(reply,", "parse_scores(text,", "they count behind|were taken"),
    ("parse_response", '(tagged("answer", reply) or "").strip() or None',
     'next(iter(re.findall("</think><answer>(.*?)</answer>", text)), "").strip() or None',
     "line by line"),
    ("with_share_wrong", "return wrong[:n_wrong] + right[:k - n_wrong]",
     "return rng.choices(wrong, k=n_wrong) + right[:k - n_wrong]", "a route twice"),
    ("with_share_wrong", "if rng.random() <", "import random\n    if random.random() <",
     "from `rng` alone"),
    ("choose_routes", "return rng.sample(drawn[:k], k)",
     "return drawn[:k] if error_ratio is not None else rng.sample(drawn[:k], k)",
     "error_ratio 0.5: .* gives the labels away"),
    ("choose_routes", "with_share_wrong(drawn, k, error_ratio, rng)",
     "with_share_wrong(routes, k, error_ratio, rng)", "are ever shown"),
    ("choose_routes", "drawn = new_answers_first(drawn)",
     "drawn = list({route.answer: route for route in drawn}.values())", "Sample larger|gives 4"),
    ("with_share_wrong", "if rng.random() < k * share - wanted:", "if False:", "only round down"),
    ("with_share_wrong", "n_wrong = max(n_wrong, k - len(right))", "pass", "must fill up"),
    ("with_share_wrong", "return wrong[:n_wrong] + right[:k - n_wrong]",
     "return right[:n_wrong] + wrong[:k - n_wrong]", "where|swapped"),
    ("choose_routes", "return rng.sample(drawn[:k], k)", "return drawn[:k]",
     "gives the labels away"),
    ("choose_routes", "if error_ratio is not None:", "if error_ratio:", "0 is a ratio"),
    ("choose_routes", "drawn = rng.sample(routes, len(routes))",
     "drawn = routes; rng.shuffle(drawn)", "list of the bank was changed"),
    ("choose_routes", "drawn = rng.sample(routes, len(routes))", "drawn = list(routes)",
     "not random"),
    ("group_advantages", "advantages = rewards - rewards.mean(dim=1, keepdim=True)",
     "advantages = rewards.mean(dim=1, keepdim=True) - rewards", "sign"),
    ("group_advantages", "rewards.std(dim=1, keepdim=True)",
     "rewards.std(dim=1, keepdim=True, correction=0)", "over n - 1"),
    ("group_advantages", "rewards.mean(dim=1, keepdim=True)", "rewards.mean()",
     "sum to zero in row 1"),
    ("group_advantages", "rewards.mean(dim=1, keepdim=True)", "rewards.mean()",
     "a mean of its own"),
    ("group_advantages", "+ eps)", ")", "eps is missing"),
    ("group_advantages", "best - worst > 1e-6", "best - worst > 0", "equal rewards"),
    ("group_advantages", "advantages = rewards - rewards.mean(dim=1, keepdim=True)",
     "advantages = rewards.sub_(rewards.mean(dim=1, keepdim=True))", "changes the rewards"),
    ("group_advantages", "rewards.mean(dim=1, keepdim=True)",
     "rewards.median(dim=1, keepdim=True).values", "median"),
    ("group_advantages", "return torch.where(best - worst > 1e-6, advantages, "
     "torch.zeros_like(advantages))", "return advantages", "equal rewards"),
    ("token_weights", "mask / mask.sum(1, keepdim=True).clamp_min(1) / rows",
     "mask / mask.sum(1, keepdim=True).clamp_min(1)", "mean over the completions is missing"),
    ("token_weights", "mask / mask.sum(1, keepdim=True).clamp_min(1) / rows",
     "mask / mask.sum().clamp_min(1)", "that is dapo"),
    ("token_weights", ".clamp_min(1) / rows", " / rows", "nan"),
    ("grpo_loss", "token_loss = -torch.min(", "token_loss = torch.min(", "sign"),
    ("grpo_loss", "clamp(1 - clip_low, 1 + clip_high)", "clamp(1 - clip_high, 1 + clip_low)",
     "swapped"),
    ("grpo_loss", "-torch.min(ratio", "-torch.max(ratio", "it is the minimum"),
    ("grpo_loss", "-torch.min(ratio * A, clipped * A)", "-ratio * A", "nothing is clipped"),
    ("grpo_loss", "-torch.min(ratio * A, clipped * A)", "-torch.min(ratio, clipped) * A",
     "on the wrong side"),
    ("grpo_loss", "clamp(1 - clip_low, 1 + clip_high)", "clamp(max=1 + clip_high)",
     "only the upper bound"),
    ("grpo_loss", "token_loss + beta * kl", "token_loss + beta * kl.detach()", "not be detached"),
    ("grpo_loss", "logps - old_logps, 0.0)", "old_logps - logps, 0.0)", "it is new / old"),
    ("grpo_loss", "logps - old_logps, 0.0)", "logps - old_logps, 0.0)", None),  # ours
    ("grpo_loss", "(token_loss * weights).sum()",
     "(token_loss * mask).sum() / mask.sum()", "all tokens of the batch"),
    ("grpo_loss", "(token_loss * weights).sum()", "token_loss.mean()", "the mask is not used"),
    ("grpo_loss", "log_ref.exp() - log_ref - 1", "-log_ref", "k1 is used"),
    ("grpo_loss", "log_ref.exp() - log_ref - 1", "log_ref ** 2 / 2", "k2 is used"),
    ("grpo_loss", "ref_logps - logps, 0.0)", "logps - ref_logps, 0.0)", "k3 is turned round"),
    ("grpo_loss", "token_loss + beta * kl", "token_loss - beta * kl", "a penalty"),
    ("grpo_loss", "(clipped * A < ratio * A)", "(clipped != ratio)", "out of range is counted"),
    ("grpo_loss", "return (token_loss * weights).sum(), stats",
     "return (token_loss * weights).sum().detach(), stats", "no gradient"),
    ("grpo_loss", "return (token_loss * weights).sum(), stats",
     "return (token_loss * weights).sum()", "two things"),
    ("pick", "ordered, index = probs.sort(-1, descending=True)",
     "ordered, index = probs.clone(), torch.arange(probs.shape[-1]).expand_as(probs)",
     "top_p 0.7 of 0.15"),
    ("pick", "target, right=True)", "target, right=False)", "of probability 0"),
    ("lengths_of", "is_end.int().argmax(1) + 1", "is_end.int().argmax(1)", "end token is dropped"),
    ("lengths_of", "finished = is_end.any(1)", "finished = is_end[:, :-1].any(1)",
     "whose last token"),
    ("pick", "/ (temperature or 1.0)", "* (temperature or 1.0)", "must divide"),
    ("pick", "-torch.linalg.vecdot", "torch.linalg.vecdot", "entropy is -sum"),
    ("pick", "tokens = torch.searchsorted(cumulative, target, right=True)[:, 0]",
     "tokens = logps.argmax(-1)", "temperature 0"),
    ("pick", "ordered[ordered.cumsum(-1) - ordered >= top_p]",
     "ordered[ordered.cumsum(-1) > top_p]", "crosses it"),
    ("draw_problems", "sample(problems, n)",
     "sample(problems, n)[:n - n % config.prompts_per_step]",
     "there are steps of|each must be there once"),
    ("draw_problems", "{config.seed} order", "order", "config.seed is not used"),
    ("vote", "most = max(", "most = min(", "rarest"),
    ("vote", "rng.choice([answer for answer, count in counts.items() if count == most])",
     "max(counts, key=counts.get)", "broken at random"),
    ("vote", "first = next((other for other in counts if answers_match(other, answer)), answer)",
     "first = __import__('rewards').canonical(answer)", "canonical form"),
    ("auc", "lower + 0.5 * equal", "lower", "a tie counts nothing"),
    ("auc", "if label]", "if not label]", "where|turned round"),
    ("wilson", "(p + z2 / 2) / (1 + z2)", "p", "where"),
    # wrong ones that two readers of the labs got through
    ("with_share_wrong", "if rng.random() < k * share - wanted:",
     "if k * share > wanted and rng.random() < 0.5:", "1.95 wrong routes"),
    ("with_share_wrong", "n_wrong = min(wanted, len(wrong))",
     "n_wrong = min(sum(rng.random() < share for _ in range(k)), len(wrong))", "in every draw"),
    ("pick", "cumulative = probs.cumsum(-1)",
     "cumulative = probs[:1].cumsum(-1).repeat(len(probs), 1)",
     "three different rows"),
    ("vote", "if count == most]", "]", "win"),
    ("realm_reward", "    complete =",
     "    if not has_reasoning: return Reward(0.0, 0.0, utility, 0.0)\n    complete =",
     "a weight of 0.2"),
    ("eaai_probability", "round(fade * total_steps, 9)", "round(fade * total_steps)",
     "step 3 of 10"),
    ("eaai_probability", "for x in (start, end, fade)", "for x in (start, fade)", "an end of"),
    ("parse_response", 're.sub(r"<think>.*?(?:</think>|$)", "", reply, flags=re.DOTALL)', "reply",
     "a second thought"),
    ("draw_problems", "    orders = ", "    import torch; torch.manual_seed(0); torch.rand(1)\n"
     "    orders = ", "a second time"),
    ("eaai_probability", "round(fade * total_steps, 9)", "int(fade * total_steps)", "int.. makes"),
    ("eaai_probability", "    return start * remaining",
     "    if shape != 'cosine': return remaining\n    return start * remaining",
     "shape linear with start"),
    ("realm_reward", "response.reasoning is not None", "bool(response.reasoning)",
     "empty text is one"),
    ("realm_reward", "answer + gate * utility_weight * utility",
     "(answer if two_stage else 0) + gate * utility_weight * utility", "not paid any more"),
    ("realm_reward", "if labels else 0.0 ", "if labels and has_reasoning else 0.0 ",
     "no reasoning .utility."),
    ("parse_response", '(tagged("answer", reply) or "")',
     '(re.findall("<answer>(.*?)</answer>", reply) or [""])[-1]', "on a line of its own"),
    ("choose_routes", "drawn = with_share_wrong(drawn, k, 0.5, rng)",
     "r = [x for x in drawn if x.correct]; w = [x for x in drawn if not x.correct]; "
     "drawn = w[:k // 2] + r[:k - k // 2]", "Sample larger|the other kind fills up"),
    ("choose_routes", "drawn = new_answers_first(drawn)",
     "f = {x.answer: x for x in drawn}; "
     "drawn = [*f.values(), *(x for x in drawn if x not in f.values())]", "7 and 7.0"),
    ("group_advantages", "    return torch.where(best",
     "    if (best - worst <= 1e-6).any(): return torch.zeros_like(rewards)\n"
     "    return torch.where(best", "silences all"),
    ("group_advantages", "    return torch.where(best",
     "    advantages = advantages.clamp(-2, 2)\n    return torch.where(best", "cut off"),
    ("group_advantages", "+ eps)", "+ 1e-4)", "written in"),
    ("token_weights", "/ rows", "/ 2", "not by the number of completions"),
    ("token_weights", "mask.shape[1]", "mask.sum(1).max()", "longest completion"),
    ("grpo_loss", "token_loss = token_loss + beta * kl",
     "token_loss = token_loss + beta * kl * token_weights(mask, 'grpo') / weights.clamp_min(1e-9)",
     "weights and beta given"),
    ("lengths_of", "is_end.int().argmax(1) + 1", "is_end.int().argmax(1) + 1.0",
     "whole numbers are right"),
    ("draw_problems", 'f"', '__import__("builtins").hash(config.seed + epoch) if True else f"',
     "added up"),
    ("wilson", "z * math.sqrt(p * (1 - p) / n + z2 / (4 * n)) / (1 + z2)",
     "z * math.sqrt(p * (1 - p) / n) / (1 + z2)", "lacks z"),
    ("wilson", "middle - half), min(1.0, middle + half)", "middle + half), min(1.0, middle - half)",
     "swapped"),
]

# what else may be in a student's file: the body of the function, words of the verdict
BODIES = [
    ("    return None", "returns nothing"),
    ("    return 3", "a tensor is asked for"),
    ("    return rewards.mean(dim=1)", r"shape is \[2\] where \[2, 4\]"),
    ("    return rewards @ rewards", r"stopped in line \d+, `return rewards @ rewards`"),
    ("    raise SystemExit", "SystemExit"),
    ("    raise NotImplementedError", "NotImplementedError"),
    ("    return rewards.mean(", "Python cannot read"),
    ("    return undefined_name", "NameError"),
    ("    pass", "still empty"),
    ("    ...", "still empty"),
]


def with_body(name, body, folder):
    """A folder with one file of the project, in which a function has another body."""
    exercise = BY_NAME[name]
    there = folder / exercise.file
    source = (there if there.exists() else ROOT / exercise.file).read_text()
    node = exercises.find_function(source, name)
    lines = source.splitlines()
    lines[node.body[0].end_lineno:node.end_lineno] = body.splitlines()
    (folder / exercise.file).write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("name", BY_NAME)
def test_the_projects_own_function_is_right(name):
    verdict = judge(name, ROOT)
    assert verdict["wrong"] == [] and len(verdict["right"]) >= 2
    assert all(sentence.endswith(".") for sentence in verdict["right"])


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case[0]}-{case[3]}")
def test_a_wrong_solution_is_called_by_the_name_of_its_mistake(case, tmp_path):
    name, ours, theirs, words = case
    exercise = BY_NAME[name]
    source = (ROOT / exercise.file).read_text()
    node = exercises.find_function(source, name)
    lines = source.splitlines(keepends=True)
    body = "".join(lines[node.body[0].end_lineno:node.end_lineno])
    assert ours in body  # else the mistake must be put in anew
    lines[node.body[0].end_lineno:node.end_lineno] = [body.replace(ours, theirs)]
    (tmp_path / exercise.file).write_text("".join(lines))
    verdict = judge(name, tmp_path)
    if words is None:
        assert verdict["wrong"] == []
    else:
        assert re.search(words, " ".join(verdict["wrong"]))


@pytest.mark.parametrize("body, words", BODIES)
def test_code_that_does_not_run_is_told_in_words(body, words, tmp_path):
    verdict = judge("group_advantages", with_body("group_advantages", body, tmp_path))
    said = " ".join(verdict["wrong"])
    assert re.search(words, said) and "Traceback" not in said


@pytest.mark.parametrize("body", ["    while True:\n        pass",
                                  "    while True:\n        try:\n            pass\n"
                                  "        except Exception:\n            pass"])
def test_a_loop_without_end_is_noticed(body, tmp_path):
    verdict = judge("vote", with_body("vote", body, tmp_path), seconds=1)
    assert "did not come back" in verdict["wrong"][0]


@pytest.mark.parametrize("name", BY_NAME)
def test_emptying_leaves_signature_and_docstring_and_nothing_else(name):
    source = (ROOT / BY_NAME[name].file).read_text()
    left = exercises.emptied(source, name)
    before = exercises.find_function(source, name)
    after = exercises.find_function(left, name)
    assert exercises.is_empty(after) and not exercises.is_empty(before)
    first = before.lineno - 1
    assert left.splitlines()[first:after.end_lineno] == source.splitlines()[first:after.end_lineno]
    assert left.splitlines()[after.end_lineno:] == source.splitlines()[before.end_lineno:]


def test_every_exercise_has_a_check():
    assert set(CHECKS) == set(BY_NAME)


def test_a_student_starts_asks_solves_and_asks_again(tmp_path, capsys):
    folder = tmp_path / "mine"
    exercises.main(["--start", str(folder), "--only", "vote", "wilson"])
    with_body("vote", "    return ()", folder)
    with pytest.raises(SystemExit) as end:
        exercises.main(["--check", str(folder), "--only", "vote", "wilson", "auc"])
    said = capsys.readouterr().out
    assert end.value.code == 1 and "1 of 3 functions are right" in said
    assert "vote (eval.py): not yet" in said and "It is still empty." in said
    assert "auc (eval.py): right" in said and "Traceback" not in said


def test_a_student_who_ends_the_whole_program_does_not_end_the_grader(tmp_path):
    body = "    import os\n    print('not a verdict')\n    os._exit(0)"
    folder = with_body("lengths_of", body, tmp_path)
    verdicts = dict(exercises.check(folder, ["lengths_of", "group_advantages"]))
    assert "ended the whole program" in verdicts["lengths_of"]["wrong"][0]
    assert verdicts["group_advantages"]["wrong"] == []  # as in the project


def test_the_folder_must_be_new_and_outside_the_project(tmp_path):
    for folder, words in ((tmp_path, "is there already"), (ROOT / "new", "inside the project")):
        with pytest.raises(SystemExit, match=words):
            exercises.main(["--start", str(folder)])
    with pytest.raises(SystemExit, match="no copy of the project"):
        exercises.main(["--check", str(tmp_path)])


def test_the_list_names_every_function():
    command = [sys.executable, "-m", "tasks.exercises", "--list"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(name in listed for name in BY_NAME)


def test_a_copy_is_not_judged_by_itself():
    with pytest.raises(ValueError, match="would judge this folder by itself"):
        exercises.report(ROOT, ["wilson"])
