"""Who looks on while ranks run: the watcher for standing still, and the desk that answers questions."""
