"""The calls to AWS: credentials, the role, submitting a job and following it."""
