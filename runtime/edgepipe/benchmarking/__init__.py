"""How fast a bundle is on this machine."""
