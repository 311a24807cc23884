"""What a setting is: its declaration, its value, and where the value came from."""
