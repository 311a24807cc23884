"""The digits once more, with the `Trainer` of transformers: a small vision transformer, made from its config.

    accelerate launch --cpu --num_processes 2 examples/train_digits_trainer.py

Nothing is downloaded: the images ship with scikit-learn, and the model begins with random weights. The Trainer uses
Hugging Face's library, which reads what the launcher gives it. Where that library is installed as well, start this
with `accel launch`, a name that is ours alone.
"""

import argparse
import gc
import tempfile

import torch
from sklearn.datasets import load_digits
from torch.utils.data import Dataset
from transformers import EvalPrediction, Trainer, TrainingArguments, ViTConfig, ViTForImageClassification


class Digits(Dataset[dict[str, torch.Tensor]]):
    """The images from the `first` on, or up to the `last`."""

    def __init__(self, first: int | None, last: int | None) -> None:
        pixels, digits = load_digits(return_X_y=True)
        order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))[first:last]
        self.images = torch.tensor(pixels, dtype=torch.float32)[order].reshape(-1, 1, 8, 8) / 8 - 1
        self.labels = torch.tensor(digits)[order]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.labels)

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        """Return an image and its label under the names that the model's `forward` has for them."""
        return {"pixel_values": self.images[place], "labels": self.labels[place]}


def main() -> None:
    """Train and print the accuracy on images that were held out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(train(arguments.epochs, folder), end="", flush=True)
    # What still holds gloo's threads when the interpreter ends can abort it: let go of it first.
    gc.collect()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def train(epochs: int, folder: str) -> str:
    """Train, and return how it went in a line, on rank 0."""
    config = ViTConfig(
        image_size=8, patch_size=2, num_channels=1, num_labels=10, hidden_size=64, intermediate_size=128,
        num_hidden_layers=2, num_attention_heads=4, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    args = TrainingArguments(
        output_dir=folder, num_train_epochs=epochs, per_device_train_batch_size=16, learning_rate=2e-3, seed=0,
        report_to="none", save_strategy="no", disable_tqdm=True, logging_strategy="no",
        use_cpu=not torch.cuda.is_available(), ddp_find_unused_parameters=False,
    )  # fmt: skip
    torch.manual_seed(0)
    trainer = Trainer(
        model=ViTForImageClassification(config),
        args=args,
        train_dataset=Digits(359, None),
        eval_dataset=Digits(None, 359),
        compute_metrics=accuracy,
    )
    trainer.train()
    found = trainer.evaluate()["eval_accuracy"]
    if not trainer.is_world_process_zero():
        return ""
    return f"accuracy {found:.4f} on 359 held-out images, {args.world_size} ranks, {args.parallel_mode.value}\n"


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """Return the share of images that the model names right."""
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


if __name__ == "__main__":
    main()
