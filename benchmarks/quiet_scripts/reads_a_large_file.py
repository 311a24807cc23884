# reads a large file | ranks 1 | alone
open('in', 'wb').write(bytes(1 << 24))
while left():
    for at in range(64):
        f = open('in', 'rb'); f.seek(at << 18); f.read(1 << 18); time.sleep(0.2)
