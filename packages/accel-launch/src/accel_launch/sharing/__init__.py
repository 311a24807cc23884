"""Devices that several launches of a machine share: which are idle, and who takes them."""
