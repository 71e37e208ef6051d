"""ReaLM on verl (0.9), with Ray and vLLM: python -m bridges.verl_realm bank.jsonl out_dir

writes train.parquet, val.parquet and test.parquet (the bank's split by a hash of each question).
Start from bridges/verl_realm.sh. Three hooks of verl do the rest:

    data.custom_cls                 RealmDataset       writes the prompts, with the fade
    reward.custom_reward_function   compute_score      our parser and two-stage reward
    data.shuffle=False              the data set is in the order of the run already

**How the fade follows the step.** Row d of the data set is the d-th prompt of the whole run, so it
belongs to step t = d // train_batch_size. bridges/prompts.py makes its prompt from (seed, t, d)
alone. The data set has T * train_batch_size rows: one epoch is the run. verl saves the place of its
loader in data.pt, so a resumed run goes on with the next row, and so with the right p(t). t is the
step a row is drawn for. An asynchronous trainer trains on it a little later. Where groups are
filtered (DAPO), a step takes more rows than train_batch_size, and the fade runs ahead of it.

A row of the parquet holds verl's fields (data_source, prompt, ability, reward_model, extra_info)
and the teacher's routes as JSON. Its own prompt is the plain one: verl validates without routes.
"""
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # verl loads us by path
from bridges.prompts import need_enough, score, write_prompt  # noqa: E402
from realm import Problem, Route, mrpv_prompt  # noqa: E402

try:
    from verl.utils.dataset.rl_dataset import RLHFDataset
except ImportError:  # the converter and the reward need no verl
    RLHFDataset = object


def compute_score(data_source, solution_str, ground_truth, extra_info=None, utility_weight=0.5,
                  one_stage=False, **_):
    """The two-stage reward as verl calls it -> a dict whose "score" is the reward.

    extra_info["labels"]: is the route right, for each one that was shown. verl logs the other
    keys. Flags come from reward.custom_reward_function.reward_kwargs.
    """
    labels = [bool(label) for label in (extra_info or {}).get("labels", ())]
    reward = score(solution_str, ground_truth, labels, utility_weight, one_stage)
    return {"score": reward.total, "acc": reward.answer, "utility": reward.utility,
            "format": reward.format, "carried": float(bool(labels))}


def to_row(problem, index, split):
    """One problem of a bank -> one row of verl's parquet."""
    routes = [{"text": r.text, "answer": r.answer, "correct": r.correct} for r in problem.routes]
    return {"data_source": "realm",
            "prompt": [{"role": "user", "content": mrpv_prompt(problem.question)}],
            "ability": "reasoning",
            "reward_model": {"style": "rule", "ground_truth": problem.answer},
            "extra_info": {"split": split, "index": index, "question": problem.question},
            "routes": json.dumps(routes)}


def to_problem(row):
    """One row of the parquet -> the Problem it was made of, without its rules."""
    routes = [Route(**route) for route in json.loads(row["routes"])]
    return Problem(row["extra_info"]["question"], row["reward_model"]["ground_truth"], routes)


class RealmDataset(RLHFDataset):
    """verl's data set, whose training rows are the prompts of a run in their order.

    config.realm holds T as `steps`, and any other flag of bridges.prompts.write_prompt.
    """

    def _read_files_and_tokenize(self):
        super()._read_files_and_tokenize()
        self.flags = dict(self.config.realm)
        self.problems = [to_problem(row) for row in self.dataframe]
        self.train = self.dataframe[0]["extra_info"]["split"] == "train"
        if self.train:
            if self.config.get("shuffle", True):
                raise ValueError("the fade needs data.shuffle=False")
            need_enough(self.problems, self.flags.get("routes", 3))

    def __len__(self):
        if not self.train:
            return len(self.dataframe)
        return self.flags["steps"] * self.config.train_batch_size

    def __getitem__(self, item):
        if not self.train:
            row = super().__getitem__(item)
            row["extra_info"]["labels"] = []
            row.pop("routes")
            return row
        step = item // self.config.train_batch_size
        made = write_prompt(self.problems, step, item, **self.flags)
        row = super().__getitem__(made["index"])
        row["raw_prompt"] = row["prompt"] = [{"role": "user", "content": made["prompt"]}]
        row["extra_info"]["labels"] = made["labels"]
        row.pop("routes")
        return row


def main(bank, folder):
    """Convert a bank."""
    try:
        import pandas
        import pyarrow  # noqa: F401  to_parquet needs it
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed: pip install verl==0.9.1, or for the "
                         "conversion alone pandas and pyarrow") from None
    from data import load_problems
    problems = {split: load_problems(bank, split) for split in ("train", "validation", "test")}
    for split, some in problems.items():
        if not some:
            raise ValueError(f"{bank}: holds no {split} questions; make it with --split all")
    Path(folder).mkdir(parents=True, exist_ok=True)
    for split, some in problems.items():
        name = "val" if split == "validation" else split
        rows = [to_row(p, i, name) for i, p in enumerate(some)]
        path = Path(folder, f"{name}.parquet")
        pandas.DataFrame(rows).to_parquet(path)
        print(f"{len(rows):6} rows  {path}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m bridges.verl_realm bank.jsonl out_dir")
    try:
        main(*sys.argv[1:])
    except ValueError as error:
        sys.exit(f"verl_realm: {error}")
