# at pdb's prompt | ranks 2 | terminal
if RANK == 0: breakpoint()
else: time.sleep(END - time.monotonic())
