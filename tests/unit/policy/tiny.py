"""Tiny models and examples: training one takes a second."""

from __future__ import annotations

from pathlib import Path

from rstar_core.config import Architecture, Training
from rstar_core.cot.grammar import answer_step
from rstar_core.types import Question, SftExample, Step, StepKind

ARCHITECTURE = Architecture(
    vocab_size=320, hidden_size=32, intermediate_size=64, num_layers=1, num_heads=2, max_position_embeddings=128
)
TRAINING = Training(
    epochs=2,
    batch_size=4,
    learning_rate=1e-2,
    schedule="cosine",
    warmup_ratio=0.0,
    weight_decay=0.0,
    max_length=256,
    max_left_out=0.05,
)


def example(number: int) -> SftExample:
    question = Question(f"q{number}", f"Ann has {number} pens and buys {number + 1} more. How many are there?")
    steps = (
        Step(StepKind.CODE, f"n = {number}"),
        Step(StepKind.CODE_END, f"n = n + {number + 1}\nprint(n)", f"{2 * number + 1}\n"),
        answer_step(str(2 * number + 1)),
    )
    return SftExample(question, steps, "r0", 1.0)


EXAMPLES = [example(number) for number in range(12)]


def make_plain(folder: Path, seed: int = 0) -> None:
    """A tiny model that somebody else trained: no markers, no pad token, spare rows in its embeddings."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {symbol: index for index, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    plain = Tokenizer(models.BPE(vocabulary, []))
    plain.pre_tokenizer, plain.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=260, **sizes)).save_pretrained(folder)
