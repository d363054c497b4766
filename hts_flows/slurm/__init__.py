"""SLURM: what a cluster is, what a job asks for, and the commands that submit and ask about jobs."""
