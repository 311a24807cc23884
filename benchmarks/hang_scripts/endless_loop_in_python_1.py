# endless loop in Python
def stuck():
    while True:  # HERE
        pass
