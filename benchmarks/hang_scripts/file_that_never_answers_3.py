# file that never answers
def stuck():
    first, second = os.pipe()
    while True:
        os.write(second, bytes(4096))  # HERE
