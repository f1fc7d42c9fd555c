"""Where the program meets its machine and its user: terminal, files, checked objects, ranks and cores."""
