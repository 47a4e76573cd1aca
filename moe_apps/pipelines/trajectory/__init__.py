"""Trajectory and driving-intention prediction: tracks of vehicles to a served model."""
