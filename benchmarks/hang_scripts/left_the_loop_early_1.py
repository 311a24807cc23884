# left the loop early
def finish():
    time.sleep(0.1)
    dist.monitored_barrier(timeout=__import__('datetime').timedelta(hours=1))  # HERE


def stuck():
    finish()
