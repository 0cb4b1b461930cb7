"""The probes of a bundle: which inputs are tried, which of them tell most, and what each variant gives for those."""
