# endless loop in Python
DONE = []
def done():
    return bool(DONE)


def stuck():
    while not done():  # HERE
        continue
