# C that doesn't return
LIBC = ctypes.CDLL(None)


def stuck():
    LIBC.pause()  # HERE
