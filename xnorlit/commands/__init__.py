"""The commands, one file per verb: parse, call the library, print."""
