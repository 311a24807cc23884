"""Whether a run that failed is started again: causes, progress, the judge, back-off."""
