"""A model from a folder with its config.json, fine-tuned with padding: Hugging Face's `nlp_example` in small."""

import sys

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, get_linear_schedule_with_warmup


def collate(rows: list[list[int]]) -> dict[str, torch.Tensor]:
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


def main() -> None:
    accelerator = Accelerator(
        gradient_accumulation_steps=2, mixed_precision=sys.argv[2] if len(sys.argv) > 2 else "no"
    )
    torch.manual_seed(0)
    rows = [[1 + place % 90 for place in range(40 + 3 * row)] for row in range(16)]
    try:
        model = AutoModelForCausalLM.from_pretrained(sys.argv[1], attn_implementation="eager", dtype=torch.float32)
    except OSError:  # there are no weights, and only with data does a model need them
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(sys.argv[1], attn_implementation="eager")
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    schedule = get_linear_schedule_with_warmup(optimizer, 1, 10)
    loader = DataLoader(rows, batch_size=4, collate_fn=collate)
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    for _ in range(3):
        for batch in loader:
            with accelerator.accumulate(model):
                loss = model(**batch).loss
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            accelerator.print(f"{loss.item():.3f}")
        accelerator.save_state("state")


if __name__ == "__main__":
    main()
