# C that doesn't return
LIBC = ctypes.CDLL(None)
SEM = ctypes.create_string_buffer(64)


def stuck():
    LIBC.sem_init(SEM, 0, 0)
    LIBC.sem_wait(SEM)  # HERE
