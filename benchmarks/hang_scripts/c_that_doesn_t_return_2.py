# C that doesn't return
def stuck():
    signal.sigwait([signal.SIGUSR2])  # HERE
