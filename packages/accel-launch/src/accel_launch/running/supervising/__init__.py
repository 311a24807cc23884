"""Parts of the supervisor: what it reads, what it is asked, how it ends a run."""
