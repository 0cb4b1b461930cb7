"""The commands of ``edgepipe``, a file each."""
