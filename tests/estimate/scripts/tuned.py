"""A `Trainer` with what runs have: bf16, checkpointing, accumulation, adapters, checkpoints and prints of the loss."""

import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments


class Rows(torch.utils.data.Dataset[dict[str, list[int]]]):
    def __len__(self) -> int:
        return 64

    def __getitem__(self, place: int) -> dict[str, list[int]]:
        ids = [1 + (place + word) % 90 for word in range(64)]
        return {"input_ids": ids, "labels": ids}


def main() -> None:
    config = AutoConfig.from_pretrained(sys.argv[1], attn_implementation="eager")
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    if "lora" in sys.argv:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", lora_dropout=0.1))
    args = TrainingArguments(
        output_dir="runs", per_device_train_batch_size=4, gradient_accumulation_steps=2, bf16=True, max_steps=4,
        gradient_checkpointing=True, logging_steps=1, logging_first_step=True, save_steps=1, report_to="none",
        use_cpu=not torch.cuda.is_available(), optim="adamw_torch", dataloader_num_workers=0,
    )  # fmt: skip
    Trainer(model=model, args=args, train_dataset=Rows()).train()
    model.save_pretrained("final")


if __name__ == "__main__":
    main()
