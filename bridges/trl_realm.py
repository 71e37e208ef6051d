"""ReaLM on TRL's GRPOTrainer (TRL 1.16), for students that need more than one GPU.

    pip install trl==1.16.0 peft
    python data.py --task shop --split train --n 8 --out shop.jsonl
    accelerate launch bridges/trl_realm.py --bank shop.jsonl --model_name_or_path tiny \
        --max_steps 300 --learning_rate 5e-4 --max_completion_length 96 --output_dir runs/trl-0 \
        --per_device_train_batch_size 64 --gradient_accumulation_steps 4 --gradient_checkpointing no
    python eval.py runs/trl-0 --task shop

Every flag of GRPOConfig and ModelConfig works: --use_peft, --use_vllm, --deepspeed FILE, --fsdp.
--resume_from_checkpoint last continues a run that was cut.

**How the fade follows the trainer.** The data set holds no prompts, only numbers 0, 1, 2, ...: row
d is the d-th draw. Its prompt is written at the last moment, when the trainer asks for completions:

    t        the trainer's global step, of the T of --max_steps
    problem  a function of (seed, d): a new random order each time all are used, as in train.py
    routes   a function of (seed, t, d): shown with probability p(t), k of the problem's N

- A group is one row, repeated G times, so all of it sees the same prompt.
- Each process computes its own rows. None needs to hear from another, for t is the same in all.
- All micro-batches of one optimizer step share t. (With --steps_per_generation above
  --gradient_accumulation_steps, or --num_iterations above 1, completions serve several optimizer
  steps, and t is the first of them.)
- A resumed trainer knows its global step, and skips the rows it has used. Nothing else is needed.
  (Save where completions are new: at any step, unless completions serve several.)
- A loader that reads ahead changes nothing, for it reads only numbers.

TRL's own sampler is not used to shuffle: after a resume it would repeat the first epoch's order.

**How our loss options map onto TRL's** (`RealmConfig` sets the defaults; each is a flag):

    ours                        TRL's                         TRL's default, where it differs
    --loss-type grpo            --loss_type grpo              dapo
    advantages of dr_grpo       --scale_rewards none          group, whatever the loss
    --beta                      --beta, and                   the KL is multiplied by the ratio
                                --use_bias_correction_kl no
    --clip-low, --clip-high     --epsilon, --epsilon_high
    --temperature               --temperature
    --lr, constant, --warmup    --learning_rate and           decays linearly to 0
                                --lr_scheduler_type
    --epochs                    --num_iterations
    --max-new-tokens            --max_completion_length       (also what dr_grpo divides by)
    -P, -G                      P * G = processes * per_device_train_batch_size
                                * gradient_accumulation_steps; G is --num_generations

Left at TRL's defaults, which are ours: top_k 0, top_p 1, no repetition penalty, truncated
completions are trained on. Prompts are encoded by `encode_prompts`, not by TRL, so the chat
template and special tokens are those of train.py. Completions end at our `end_ids`.

**What differs from train.py.** The warm-up begins at 0 instead of lr / warmup. TRL's random numbers
draw the tokens. A prompt's decision to carry routes has a generator of its own, where train.py has
one a step. Mixed precision is autocast on fp32 weights (--dtype float32, TRL's default).
"""
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers.trainer_utils import get_last_checkpoint

try:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer, ModelConfig, TrlParser, get_peft_config
    from trl import get_quantization_config
except ModuleNotFoundError as error:
    if __name__ != "__main__":
        raise
    sys.exit(f"trl_realm: {error.name} is not installed: pip install trl==1.16.0 peft")

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bridges.prompts import need_enough, score, write_prompt  # noqa: E402
from data import load_problems  # noqa: E402
from engine.policy import encode_prompts, end_ids, resolve_model  # noqa: E402

FLAGS = ("seed", "routes", "selection", "error_ratio", "schedule", "fade", "p_end")  # of a prompt


@dataclass
class RealmConfig(GRPOConfig):
    """GRPOConfig with ReaLM's flags, and with the defaults of train.py where TRL's differ."""
    bank: str = field(default="bank.jsonl", metadata={"help": "JSONL bank, made by data.py"})
    routes: int = field(default=3, metadata={"help": "k, the routes in a prompt that carries any"})
    selection: str = field(default="random", metadata={"help": "random, diverse or balanced"})
    error_ratio: float | None = field(default=None, metadata={"help": "share of wrong routes"})
    schedule: str = field(default="cosine", metadata={"help": "shape of p(t)"})
    fade: float = field(default=0.95, metadata={"help": "share of the steps in which p(t) falls"})
    p_end: float = field(default=0.0, metadata={"help": "p(t) after the fade"})
    utility_weight: float = field(default=0.5, metadata={"help": "what perfect scores add"})
    one_stage: bool = field(default=False, metadata={"help": "pay for scores of wrong answers too"})

    output_dir: str | None = "runs/trl"
    loss_type: str = "grpo"
    scale_rewards: str | None = None  # settled by the loss type
    use_bias_correction_kl: bool = False
    lr_scheduler_type: str = "constant_with_warmup"
    warmup_steps: float = 10
    logging_steps: float = 1
    report_to: str | None = "none"
    save_total_limit: int | None = 2
    shuffle_dataset: bool | None = False

    def __post_init__(self):
        if self.scale_rewards is None:
            self.scale_rewards = "none" if self.loss_type == "dr_grpo" else "group"
        if self.bf16 is None:
            self.bf16 = torch.cuda.is_available() and not self.use_cpu and not self.fp16
        super().__post_init__()
        if self.max_steps < 1 or self.shuffle_dataset:
            raise ValueError("the fade needs --max_steps, its T, and --shuffle_dataset no")


def reward_function(args):
    """The two-stage reward as TRL calls it. Its parts go to the log, one value a completion."""
    def realm(completions, gold, labels, p, log_metric, **_):
        totals = []
        for text, answer, shown, p_t in zip(completions, gold, labels, p, strict=True):
            reward = score(text, answer, shown, args.utility_weight, args.one_stage)
            totals.append(reward.total)
            log_metric("realm/p", p_t)
            log_metric("realm/carried", float(bool(shown)))
            log_metric("realm/format", reward.format)
            log_metric("realm/answer", reward.answer)
            log_metric("realm/answer_routes" if shown else "realm/answer_alone", reward.answer)
            if shown:
                log_metric("realm/utility", reward.utility)
        return totals
    return realm


class RealmTrainer(GRPOTrainer):
    """TRL's GRPOTrainer, whose prompts are written when completions are asked for."""

    def __init__(self, model, problems, args, **others):
        need_enough(problems, args.routes)
        generations = -(-args.max_steps * args.gradient_accumulation_steps
                        // (args.steps_per_generation * args.num_iterations))
        draws = generations * args.generation_batch_size // args.num_generations
        rows = Dataset.from_dict({"prompt": [""] * draws, "draw": range(draws)})
        super().__init__(model, reward_function(args), args, rows, **others)
        self.problems = problems
        self.eos_token_ids = end_ids(self.model, self.processing_class)
        if self.use_vllm:
            stop = {"stop_token_ids": self.eos_token_ids}
            self.vllm_generation.generation_kwargs = {**stop, **(args.generation_kwargs or {})}
        else:
            self.generation_config.eos_token_id = self.eos_token_ids
            self.generation_kwargs["eos_token_id"] = self.eos_token_ids

    def _generate_and_score_completions(self, inputs):
        step = self.state.global_step  # t
        flags = {name: getattr(self.args, name) for name in FLAGS}
        inputs = [write_prompt(self.problems, step, row["draw"], steps=self.args.max_steps, **flags)
                  for row in inputs]
        return super()._generate_and_score_completions(inputs)

    def _tokenize_prompts(self, prompts):
        return encode_prompts(self.processing_class, prompts), None, {}


def main():
    args, model_args = TrlParser((RealmConfig, ModelConfig)).parse_args_and_config()
    args.model_init_kwargs = {
        "dtype": model_args.dtype, "attn_implementation": model_args.attn_implementation,
        "revision": model_args.model_revision, **(args.model_init_kwargs or {})}
    if args.resume_from_checkpoint == "last":
        begun = Path(args.output_dir).is_dir()
        args.resume_from_checkpoint = get_last_checkpoint(args.output_dir) if begun else None
    trainer = RealmTrainer(
        resolve_model(model_args.model_name_or_path), load_problems(args.bank, "train"), args,
        peft_config=get_peft_config(model_args),
        quantization_config=get_quantization_config(model_args))
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    trainer.save_state()
    trainer.save_model(str(Path(args.output_dir, "model")))
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main()
