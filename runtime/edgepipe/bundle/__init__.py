"""The directory that is deployed: its layout, its manifest, and where it comes from."""
