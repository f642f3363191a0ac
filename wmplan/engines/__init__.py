"""Who does the work: processes of this machine, a Ray cluster, or jobs of a Slurm cluster.

An engine is given numbered jobs, shares them out among its workers, and hands back what each job yields and the files
it has written. A job that a lost worker had begun is done by another one. Jobs must not depend on who does them.
"""
