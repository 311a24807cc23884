# unpacks many small files | ranks 1 | alone
n = 0
while left():
    n += 1
    open(f'file{n % 50}', 'wb').write(bytes(8192)); time.sleep(0.05)
