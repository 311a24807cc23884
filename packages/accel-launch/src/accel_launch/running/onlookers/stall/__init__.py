"""The run that stands still: noticed from outside, and told with the rank that isn't where the others wait."""
