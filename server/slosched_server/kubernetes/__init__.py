"""The cluster that the replicas run in: who of them is there, which classes, and who leads."""
