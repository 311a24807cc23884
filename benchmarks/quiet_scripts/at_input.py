# at input() | ranks 2 | terminal
if RANK == 0: input()
else: time.sleep(END - time.monotonic())
