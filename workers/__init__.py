"""The processes: settings, command line, worker, scheduler, demo."""
