"""The benchmark: this project and its peers, under the same load on loopback."""
