# prints now and then | ranks 2 | alone
while left():
    time.sleep(3); print('.', end='', flush=True)
