"""mpirun: how each family of MPI identifies a rank, and how the ranks find the machine of rank 0."""
