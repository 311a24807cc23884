"""Every other machine's side of the lifeline."""
