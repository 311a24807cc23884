# mismatched collectives
def stuck():
    dist.all_gather([torch.ones(4) for _ in range(WORLD)], torch.ones(4))  # HERE
