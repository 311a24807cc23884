# writes and waits for the disk | ranks 1 | alone
while left():
    f = open('out', 'wb'); f.write(os.urandom(1 << 20)); os.fsync(f.fileno()); time.sleep(1)
