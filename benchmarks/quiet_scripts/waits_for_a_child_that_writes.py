# waits for a child that writes | ranks 1 | alone
subprocess.run([sys.executable, '-c', f'import time\nend = time.monotonic() + {END - time.monotonic()}\nwhile time.monotonic() < end: open("o", "wb").write(bytes(99999)); time.sleep(.5)'])
