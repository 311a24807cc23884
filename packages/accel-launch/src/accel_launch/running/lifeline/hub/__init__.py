"""The main machine's side of the lifeline."""
