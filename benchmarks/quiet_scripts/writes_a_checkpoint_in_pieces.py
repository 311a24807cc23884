# writes a checkpoint in pieces | ranks 1 | alone
f = open('out', 'wb')
while left():
    f.write(bytes(1 << 16)); f.flush(); time.sleep(0.3)
