"""Onlookers of a run over several machines: what each launcher sees goes along the lifeline to the main machine."""
