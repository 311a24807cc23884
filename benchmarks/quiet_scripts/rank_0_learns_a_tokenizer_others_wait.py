# rank 0 learns a tokenizer, others wait | ranks 2 | gloo
def pairs(tokens):
    counts = {}
    for pair in zip(tokens, tokens[1:]):
        counts[pair] = counts.get(pair, 0) + 1
    return counts
def merged(tokens, pair, new):
    found, i = [], 0
    while i < len(tokens):
        if tuple(tokens[i : i + 2]) == pair:
            found.append(new)
            i += 2
        else:
            found.append(tokens[i])
            i += 1
    return found
def learn():
    tokens = random.Random(0).choices(range(30), k=300000)
    new = 30
    while left():
        counts = pairs(tokens)
        tokens = merged(tokens, max(counts, key=counts.get), new)
        new += 1
if RANK == 0: learn()
dist.barrier()
