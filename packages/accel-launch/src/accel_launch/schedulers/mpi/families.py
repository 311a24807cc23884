"""The families of MPI: how each names its ranks, its jobs and its programs. Every such fact is here."""

from __future__ import annotations

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Family(Record):
    """One family of MPI."""

    title: str
    rank: str
    """The variable of a rank's number; the next three are variables too."""
    total: str
    local_rank: str
    local: str
    """The number of ranks on this machine."""
    jobs: tuple[str, ...]
    """Variables with the same value for all ranks of one mpirun, and another value for any other mpirun."""
    manager: str = ""
    """The program that is the parent of all ranks of a machine, where no variable identifies the job."""
    signs: tuple[str, ...] = ()
    """Texts in the output of ``mpirun --version``, if the launcher can start ranks with this family's mpirun."""

    @property
    def names(self) -> Mapping[str, str]:
        """Torch's variables, each with the family's own."""
        return {
            "RANK": self.rank,
            "WORLD_SIZE": self.total,
            "LOCAL_RANK": self.local_rank,
            "LOCAL_WORLD_SIZE": self.local,
        }


OPEN = Family(
    title="Open MPI",
    rank="OMPI_COMM_WORLD_RANK",
    total="OMPI_COMM_WORLD_SIZE",
    local_rank="OMPI_COMM_WORLD_LOCAL_RANK",
    local="OMPI_COMM_WORLD_LOCAL_SIZE",
    jobs=("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"),
    signs=("Open MPI", "OpenRTE", "Spectrum MPI"),
)

# The process manager of MPICH, Intel MPI and MVAPICH. If one rank fails, the others wait forever unless its parent
# reports the failure to Hydra. Ranks can exchange values through it before they start (PMI).
HYDRA = Family(
    title="Hydra",
    rank="PMI_RANK",
    total="PMI_SIZE",
    local_rank="MPI_LOCALRANKID",
    local="MPI_LOCALNRANKS",
    jobs=("I_MPI_HYDRA_UUID",),
    manager="hydra_pmi_proxy",
    signs=("HYDRA", "Intel(R) MPI", "MVAPICH", "MPICH"),
)

# MVAPICH's own mpirun_rsh: MV2 up to release 2.3, MVP since 3.0.
MVAPICH = tuple(
    Family(
        title="MVAPICH",
        rank=f"{prefix}_COMM_WORLD_RANK",
        total=f"{prefix}_COMM_WORLD_SIZE",
        local_rank=f"{prefix}_COMM_WORLD_LOCAL_RANK",
        local=f"{prefix}_COMM_WORLD_LOCAL_SIZE",
        jobs=("MPIRUN_ID",),
        manager="mpispawn",
    )
    for prefix in ("MV2", "MVP")
)

FAMILIES = (OPEN, HYDRA, *MVAPICH)
