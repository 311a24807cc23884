# barrier with another group
ALL = dist.new_group(list(range(WORLD)))


def stuck():
    dist.barrier(group=ALL)  # HERE
