# rank 1 reads rows, others wait | ranks 2 | gloo
import csv
def table(rows):
    found = {}
    for row in csv.DictReader(rows):
        found.setdefault(row["user"], []).append(float(row["score"]))
    return found
def prepare():
    rows = ["user,score", *(f"{number % 977},{number / 7}" for number in range(20000))]
    while left():
        table(rows)
if RANK == 1: prepare()
dist.barrier()
