"""The machine and the user: terminal output, atomic files, validated objects, ranks and cores."""
