# prints on one rank only | ranks 3 | alone
while left():
    time.sleep(3)
    if RANK == 1: print('.', end='', flush=True)
