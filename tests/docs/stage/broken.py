import os, time
def load(path):
    raise FileNotFoundError(path)

if os.environ.get("RANK") == "1":
    load("weights.bin")
time.sleep(60)
