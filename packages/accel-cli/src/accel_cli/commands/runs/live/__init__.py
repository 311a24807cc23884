"""What `top` shows of a run while it goes on: in the terminal, and as a page."""
