# a stopped job (Ctrl-Z) | ranks 2 | stopped
time.sleep(END - time.monotonic())
