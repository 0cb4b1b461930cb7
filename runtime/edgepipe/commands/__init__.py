"""What the command line does, a file a command; ``edgepipe.cli`` parses the arguments."""
