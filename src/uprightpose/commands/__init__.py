"""One module per command of the command line: ``add`` declares it, ``run`` runs it."""
