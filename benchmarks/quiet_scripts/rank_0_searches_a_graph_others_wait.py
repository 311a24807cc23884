# rank 0 searches a graph, others wait | ranks 3 | gloo
def search(graph, start):
    seen, waiting = {start}, [start]
    for node in waiting:
        for other in graph[node]:
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return len(seen)
def prepare():
    draw = random.Random(0)
    graph = [[draw.randrange(50000) for _ in range(4)] for _ in range(50000)]
    while left():
        search(graph, draw.randrange(50000))
if RANK == 0: prepare()
dist.barrier()
