# left the loop early
def finish():
    threading.Event().wait()  # HERE


def stuck():
    finish()
