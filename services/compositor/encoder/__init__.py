"""Pictures into packets, packets into files. The one package that imports av."""
