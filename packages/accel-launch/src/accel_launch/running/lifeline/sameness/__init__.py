"""What has to be the same on all machines of a run: each launcher describes its own, and the main one compares."""
