"""The commands, one file a verb: each reads its words, calls the library and prints."""
