"""What if: the simulator asked over and over, for grids, capacity and tuning."""
