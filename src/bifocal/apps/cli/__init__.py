"""The commands: one file each, no logic. They read arguments, call the rooms below and print."""
