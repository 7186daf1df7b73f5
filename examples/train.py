"""Trains a tiny language model with random weights on a training set, a few steps only: enough to see the loss fall.

    feature-pipeline export --format parquet --output EXPORT_DIR
    python examples/train.py EXPORT_DIR

Nothing is downloaded. Needs: pip install datasets transformers[torch]
"""

import argparse
from tempfile import TemporaryDirectory

from datasets import load_dataset
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    DataCollatorForLanguageModeling,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

END = "<|endoftext|>"
LENGTH = 128  # tokens


def main(export: str, steps: int) -> None:
    """Train on the split `train` of an export and print the loss."""
    train = load_dataset(export, split="train")

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.train_from_iterator(train["text"], trainers.BpeTrainer(vocab_size=2000, special_tokens=[END]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=END, pad_token=END)
    tokens = train.map(
        lambda rows: tokenizer([text + END for text in rows["text"]], truncation=True, max_length=LENGTH),
        batched=True,
        remove_columns=train.column_names,
    )
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=LENGTH, n_embd=64, n_layer=2, n_head=2)
    with TemporaryDirectory() as output:
        trainer = Trainer(
            GPT2LMHeadModel(config),
            TrainingArguments(
                output, max_steps=steps, learning_rate=3e-3, logging_steps=1, report_to="none", use_cpu=True
            ),
            DataCollatorForLanguageModeling(tokenizer, mlm=False),
            train_dataset=tokens,
        )
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    print(f"{len(train)} documents, {len(losses)} steps, loss {losses[0]:.3f} -> {losses[-1]:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", help="folder of an export")
    parser.add_argument("--steps", type=int, default=10)
    main(**vars(parser.parse_args()))
