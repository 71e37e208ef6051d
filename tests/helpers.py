"""What the tests share: a policy small enough to enumerate, and slow, plain oracles to hold grpo.py against."""
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

PAD, END, TURN = 0, 1, 2  # ids; TURN ends a turn of CHAT, as <|im_end|> does for Qwen
LETTERS = "abcdefghijklm"
CHAT = ("{% for m in messages %}{{ m['role'][0] + m['content'] + '<turn>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'a' }}{% endif %}")


def small_tokenizer(**changes):
    """One token a letter; 16 ids in all."""
    vocab = {token: i for i, token in enumerate(["<pad>", "<end>", "<turn>", *LETTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **{
        "pad_token": "<pad>", "eos_token": "<end>", "additional_special_tokens": ["<turn>"], **changes})


def small_model(seed=0, **changes):
    """Random weights, two query heads for each key head, and distributions that are far from flat."""
    torch.manual_seed(seed)
    config = Qwen2Config(**{**dict(
        vocab_size=16, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=256, initializer_range=0.3, tie_word_embeddings=True, bos_token_id=None, eos_token_id=END,
        pad_token_id=PAD), **changes})
    return Qwen2ForCausalLM(config).eval()
