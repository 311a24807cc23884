"""Amazon SageMaker jobs. Not in this version yet."""
