# sleep
def stuck():
    while not os.path.exists('/never'):
        time.sleep(0.5)  # HERE
