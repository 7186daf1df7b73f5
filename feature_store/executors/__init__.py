"""Where part functions run: in this process, in processes of this machine, or as tasks of a Ray cluster."""
