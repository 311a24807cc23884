# waits for a child that computes | ranks 2 | alone
subprocess.run([sys.executable, '-c', f'import time\nend = time.monotonic() + {END - time.monotonic()}\nwhile time.monotonic() < end: pass'])
