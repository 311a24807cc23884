# rank 0 counts word errors, others wait | ranks 2 | gloo
def distance(said, meant):
    row = list(range(len(meant) + 1))
    for i, word in enumerate(said, 1):
        before, row = row, [i]
        for j, other in enumerate(meant, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (word != other)))
    return row[-1]
def evaluate():
    draw = random.Random(0)
    errors = 0
    while left():
        errors += distance(*(draw.choices(range(500), k=60) for _ in range(2)))
if RANK == 0: evaluate()
dist.barrier()
