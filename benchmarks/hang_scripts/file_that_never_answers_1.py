# file that never answers
def stuck():
    first, second = os.pipe()
    os.read(first, 1)  # HERE
