"""Which ways to train a model fit the devices, how long a step takes in each, and the config file for one of them."""
