#!/usr/bin/env bash
# ReaLM with verl 0.9 on one node of 8 cards, Qwen2.5-7B-Instruct, vLLM for the completions.
# NOT RUN: nobody here had 8 cards. tests/test_bridge_verl.py composes this configuration with
# verl's own Hydra files, and loads the data set, its loader and the reward the way verl does.
#
#   python -m bridges.verl_realm bank.jsonl banks/verl        (once)
#   bash bridges/verl_realm.sh                                (any verl setting may follow)
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
steps=${STEPS:-500}        # T: the fade ends at 0.95 T
prompts=${PROMPTS:-64}     # P, prompts a step
group=${GROUP:-8}          # G, completions of each

overrides=(
    # prompts, and the fade
    data.train_files="${DATA:-$here/banks/verl}/train.parquet"
    data.val_files="${DATA:-$here/banks/verl}/val.parquet"
    data.custom_cls.path="$here/bridges/verl_realm.py"
    data.custom_cls.name=RealmDataset
    data.shuffle=False
    data.seed=0
    data.train_batch_size="$prompts"
    data.max_prompt_length=2048             # a question and three routes; longer ones are an error
    data.max_response_length=1024
    +data.realm.steps="$steps"
    +data.realm.routes=3
    +data.realm.schedule=cosine
    +data.realm.fade=0.95
    +data.realm.seed=0
    # the two-stage reward
    reward.custom_reward_function.path="$here/bridges/verl_realm.py"
    reward.custom_reward_function.name=compute_score
    +reward.custom_reward_function.reward_kwargs.utility_weight=0.5
    # GRPO as in grpo.py: --loss-type grpo is seq-mean-token-mean, dapo is token-mean
    # (dr_grpo: seq-mean-token-sum-norm, loss_scale_factor=1024 and norm_adv_by_std_in_grpo=False)
    algorithm.adv_estimator=grpo
    algorithm.norm_adv_by_std_in_grpo=True
    algorithm.use_kl_in_reward=False
    actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean
    actor_rollout_ref.actor.use_kl_loss=False                 # --beta 0
    actor_rollout_ref.actor.clip_ratio_low=0.2
    actor_rollout_ref.actor.clip_ratio_high=0.2
    actor_rollout_ref.actor.clip_ratio_c=1000                 # no dual clip, as in grpo.py
    actor_rollout_ref.actor.ppo_mini_batch_size="$prompts"    # one optimizer step a generation
    actor_rollout_ref.actor.ppo_epochs=1
    actor_rollout_ref.actor.optim.lr=1e-6
    actor_rollout_ref.actor.optim.lr_warmup_steps=10
    actor_rollout_ref.actor.optim.weight_decay=0.0
    # memory and speed
    actor_rollout_ref.model.path="${MODEL:-Qwen/Qwen2.5-7B-Instruct}"
    actor_rollout_ref.model.use_remove_padding=True
    actor_rollout_ref.model.enable_gradient_checkpointing=True
    actor_rollout_ref.actor.use_dynamic_bsz=True
    actor_rollout_ref.actor.ppo_max_token_len_per_gpu=16384
    actor_rollout_ref.rollout.name=vllm
    actor_rollout_ref.rollout.n="$group"
    actor_rollout_ref.rollout.temperature=1.0
    actor_rollout_ref.rollout.tensor_model_parallel_size=2
    actor_rollout_ref.rollout.gpu_memory_utilization=0.5
    trainer.n_gpus_per_node=8
    trainer.nnodes=1
    trainer.total_epochs=1                  # the data set holds the whole run
    trainer.total_training_steps="$steps"
    trainer.save_freq=25
    trainer.test_freq=25
    trainer.resume_mode=auto                # the same command continues a run
    trainer.project_name=realm
    trainer.experiment_name=qwen2.5-7b
    "trainer.logger=[console]"
)
if [ "${1:-}" = --print ]; then             # for the test: one override a line
    printf '%s\n' "${overrides[@]}"
    exit
fi
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
exec python3 -m verl.trainer.main_ppo "${overrides[@]}" "$@"
