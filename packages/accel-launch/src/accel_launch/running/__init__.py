"""Running a plan: the supervisor and its guardian, output, the result, the lifeline between machines."""
