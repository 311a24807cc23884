"""Parts that several engines share: the meeting point, hostfiles, the command of a rank, the network interface."""
