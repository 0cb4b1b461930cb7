"""The data that recipes are calibrated with and variants are measured on."""
